# Quire. `make help` lists the targets; there is no configure step.
#   make             ./quire        B=dir        build folder (default build/release)
#   CUDA=0|1         without | insist on the CUDA kernels; by default where nvcc is found
#   NVCC=path        the CUDA compiler (scripts/deps.sh cuda says how to get one)
#   DNNL=0           without oneDNN  (document prefill then uses our own matrix product)
#   FAISS=0          without FAISS   (scripts/deps.sh faiss brings it; vectors are then scored one by one)

FLAVOUR ?= release
B       ?= build/$(FLAVOUR)
CC      ?= cc
CUDA    ?= auto
DNNL    ?= auto
FAISS   ?= auto
PREFIX  ?= /usr/local

RANKS   := base kernels store ingest index decode retrieve pipelines
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CFLAGS  ?= -O2 -g
XCFLAGS := -std=c11 -D_GNU_SOURCE -I. $(WARN) -fno-math-errno -ffp-contract=off
SAN     :=
ifeq ($(FLAVOUR),asan)
SAN     := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif
ifeq ($(FLAVOUR),fuzz)
SAN     := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -DQU_LIBFUZZER
endif
ifeq ($(FLAVOUR),tsan)
SAN     := -fsanitize=thread
endif
ifdef WERROR
XCFLAGS += -Werror
endif

have     = $(shell pkg-config --exists $(1) 2>/dev/null && echo yes)
PKGS     := libxml-2.0 zlib libpcre2-8 libutf8proc jansson uchardet libarchive
MISSING  := $(strip $(foreach p,$(PKGS),$(if $(call have,$(p)),,$(p))))
HAVE_LMDB := $(wildcard /usr/include/lmdb.h /usr/local/include/lmdb.h)
HAVE_DNNL := $(if $(filter 0,$(DNNL)),,$(wildcard /usr/include/dnnl.h /usr/local/include/dnnl.h))
HAVE_FAISS := $(if $(filter 0,$(FAISS)),,$(if $(wildcard /usr/lib/*/libfaiss.a),$(wildcard build/deps/libfaiss_c.a)))
NVCC      ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc build/deps/cuda/bin/nvcc 2>/dev/null | head -n 1)
HAVE_CUDA := $(if $(filter 0,$(CUDA)),,$(if $(filter release,$(FLAVOUR)),$(shell command -v $(NVCC) 2>/dev/null)))
XCFLAGS  += $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -llmdb -lpthread -lm
ifneq ($(HAVE_DNNL),)
XCFLAGS  += -DQU_WITH_DNNL
LDLIBS   += -ldnnl -lgomp
endif

ifneq ($(HAVE_FAISS),)
LDLIBS   += $(HAVE_FAISS) -lfaiss -lopenblas -lgomp -lstdc++
endif

# CUDA objects do not depend on the flavour: all build folders share one set.
CU       := build/cuda
CU_SRC   := $(wildcard kernels/cuda/*.cu)
CU_OBJ   := $(CU_SRC:kernels/cuda/%.cu=$(CU)/%.o)
CU_FLAGS := -std=c++17 -O3 -I. -Werror all-warnings -Xcompiler -Wall -Xptxas -v -gencode arch=compute_80,code=sm_80 \
	-gencode arch=compute_90,code=[sm_90,compute_90]
CU_ROOT  := $(if $(HAVE_CUDA),$(patsubst %/bin/nvcc,%,$(realpath $(HAVE_CUDA))))
CU_LIBS  := $(addprefix -L$(CU_ROOT)/,lib64 lib targets/x86_64-linux/lib) -lcudart_static -ldl -lrt -lstdc++
EMU_OBJ  := $(CU_SRC:kernels/cuda/%.cu=$(B)/emulate/%.o) $(B)/emulate/emulate.o

DEV_SRC  := $(wildcard decode/cuda_*.c)
LIB_SRC  := $(filter-out %_simd.c $(if $(HAVE_CUDA),decode/device_none.c,$(DEV_SRC)),$(foreach r,$(filter-out pipelines,$(RANKS)),$(wildcard $(r)/*.c)))
SIMD_SRC := $(wildcard kernels/*_simd.c)
APP_SRC  := $(wildcard pipelines/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o)
ISAS     := plain
ifeq ($(shell uname -m),x86_64)
ISAS     += avx2 avx512
endif
ISA_plain  := -Wno-psabi
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c -mprefer-vector-width=512
ISA_amx    := $(ISA_avx512) -mavx512bf16 -mamx-tile -mamx-bf16
LIB_OBJ  += $(foreach i,$(ISAS),$(SIMD_SRC:%.c=$(B)/%.$(i).o))
LIB_OBJ  += $(if $(HAVE_CUDA),$(CU_OBJ))
LDLIBS   += $(if $(HAVE_CUDA),$(CU_LIBS))
APP_OBJ  := $(APP_SRC:%.c=$(B)/%.o)
UNIT     := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit_*.c tests/prop_*.c tests/fault_*.c))
CUDA_UNIT := $(filter-out %_device,$(filter $(B)/tests/unit_cuda_%,$(UNIT)))
UNIT     := $(filter-out $(if $(HAVE_CUDA),,%_device) $(if $(filter tsan,$(FLAVOUR)),$(CUDA_UNIT)),$(UNIT))
REF      := $(patsubst %.c,$(B)/%.o,$(wildcard tests/ref_forward.c))
TOOLS    := $(patsubst bench/%.c,$(B)/%,$(filter-out $(if $(HAVE_CUDA),,bench/cuda_%),$(wildcard bench/*.c)))

all: deps-report quire $(TOOLS)  ## all: build ./quire and the bench tools (default)

help:  ## help: list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^[^#]*## /  make /'

deps-report:
	@for p in $(PKGS); do case " $(MISSING) " in *" $$p "*) echo "$$p: not found";; *) echo "$$p: found";; esac; done
	@echo "lmdb: $(if $(HAVE_LMDB),found,not found)"
	@echo "oneDNN: $(if $(HAVE_DNNL),found,not found, documents are prefilled by our own kernels)"
	@echo "FAISS: $(if $(HAVE_FAISS),found,not found, large stores are searched more slowly; scripts/deps.sh faiss builds it)"
	@echo "pdftotext: $(if $(wildcard /usr/bin/pdftotext /usr/local/bin/pdftotext),found,not found: PDFs are skipped until poppler-utils is installed)"
	@echo "nvcc: $(if $(HAVE_CUDA),found,not found or not wanted: no CUDA kernels)"
	@if [ -n "$(MISSING)$(if $(HAVE_LMDB),,x)" ]; then echo "run scripts/deps.sh to install what is missing"; exit 1; fi
ifeq ($(CUDA),1)
	@if [ -z "$(HAVE_CUDA)" ]; then echo "CUDA=1, but there is no nvcc on PATH: scripts/deps.sh cuda, or NVCC=path"; exit 1; fi
endif

# Objects depend on a stamp of the flags, so that a change of flags rebuilds.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(CFLAGS) $(XCFLAGS) $(SAN)' | cmp -s - $@ || echo '$(CC) $(CFLAGS) $(XCFLAGS) $(SAN)' > $@

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) $(SAN) -MMD -MP -c $< -o $@

# Only this file sees FAISS; it is compiled anew when the library comes or goes.
$(B)/faiss: FORCE
	@mkdir -p $(B)
	@echo '$(HAVE_FAISS)' | cmp -s - $@ || echo '$(HAVE_FAISS)' > $@

ifneq ($(HAVE_FAISS),)
$(B)/index/ivf.o: XCFLAGS += -DQU_WITH_FAISS -isystem build/deps/include
endif
$(B)/index/ivf.o: $(B)/faiss

define simd_rule
$(B)/%_simd.$(1).o: %_simd.c $(B)/flags
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) $(if $(filter fuzz,$(FLAVOUR)),-O1,$(if $(SAN),-O1,-O3) $(SAN)) $(XCFLAGS) $(ISA_$(1)) -DQU_ISA=$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call simd_rule,$(i))))

ifneq ($(filter avx512,$(ISAS)),)
$(B)/kernels/tile_amx.o: XCFLAGS += $(ISA_amx) $(if $(SAN),,-O3)
endif
$(B)/kernels/tile.o: XCFLAGS += $(ISA_plain)

$(B)/libquire.a: $(LIB_OBJ) $(B)/flags
	rm -f $@
	ar rcs $@ $(LIB_OBJ)

$(B)/quire: $(APP_OBJ) $(B)/libquire.a
	$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(LDLIBS)

quire: $(B)/quire
	@cmp -s $< $@ || cp $< $@

# A tool or a test is one C file against the library; tests may add the plain oracle.
$(TOOLS): $(B)/%: bench/%.c $(B)/libquire.a
	$(CC) $(CFLAGS) $(XCFLAGS) $(SAN) -MMD -MP -o $@ $< $(B)/libquire.a $(LDLIBS)

# The program without its entry and its verbs.
$(B)/libpipelines.a: $(filter-out %/main.o $(B)/pipelines/cmd_%.o,$(APP_OBJ))
	rm -f $@
	ar rcs $@ $^

$(B)/tests/%: tests/%.c $(REF) $(B)/libpipelines.a $(B)/libquire.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) $(SAN) -MMD -MP -o $@ $< $(REF) $(B)/libpipelines.a $(B)/libquire.a -lcmocka \
		$(LDLIBS)

# The CUDA kernels: compiled for a device, with what each costs in registers ...
$(CU)/flags: FORCE
	@mkdir -p $(CU)
	@echo '$(NVCC) $(CU_FLAGS)' | cmp -s - $@ || echo '$(NVCC) $(CU_FLAGS)' > $@

# ... by the first C++ compiler that this nvcc accepts: it refuses those that are newer than it knows ...
$(CU)/host: $(CU)/flags
	@echo 'int host;' >$@.cu
	@for c in '' g++-14 g++-13 g++-12 clang++; do \
		if $(NVCC) $${c:+-ccbin $$c} -c $@.cu -o $@.o >$@.log 2>&1; then echo "$${c:+-ccbin $$c}" >$@; exit 0; fi; done; \
	grep -m 1 -iE "unsupported|error" $@.log; echo "$(NVCC) takes none of the C++ compilers here: install g++-13 or g++-12, or make CUDA=0"; exit 1

$(CU)/%.o: kernels/cuda/%.cu $(CU)/host
	$(NVCC) $$(cat $(CU)/host) $(CU_FLAGS) -MMD -MP -c $< -o $@ >$(@:.o=.log) 2>&1 || { cat $(@:.o=.log); rm -f $@; exit 1; }
	@awk '/ Used / { n++; if ($$5 > most) most = $$5 } /spill stores/ { spilled += $$5 + $$9 } \
		END { printf "%s: %d kernels, at most %d registers, %d bytes spilled\n", "$<", n, most, spilled }' $(@:.o=.log)

# ... and as plain C++ under tests/emulate.
EMU_FLAGS := -std=c++17 -O2 -g -I. -Itests/emulate -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off -fno-strict-aliasing
$(B)/emulate/%.o: kernels/cuda/%.cu $(B)/flags
	@mkdir -p $(@D)
	$(CXX) $(EMU_FLAGS) $(SAN) -MMD -MP -x c++ -c $< -o $@

$(B)/emulate/emulate.o: tests/emulate/emulate.cc $(B)/flags
	@mkdir -p $(@D)
	$(CXX) $(EMU_FLAGS) $(SAN) -MMD -MP -c $< -o $@

$(CUDA_UNIT): $(B)/tests/%: tests/%.c $(EMU_OBJ) $(DEV_SRC:%.c=$(B)/%.o) $(B)/libquire.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) $(SAN) -MMD -MP -o $@ $< $(EMU_OBJ) $(DEV_SRC:%.c=$(B)/%.o) $(B)/libquire.a -lcmocka \
		$(LDLIBS) -lstdc++

$(B)/tests/ref_forward.o: tests/ref_forward.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) $(SAN) -MMD -MP -c $< -o $@

# What tests load before a program to make its calls fail.
$(B)/tests/faults.so: tests/faults.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) -fPIC -shared -o $@ $< -ldl

tests: quire $(TOOLS) $(UNIT) $(B)/tests/faults.so

test:  ## test: install what is missing, build, run the unit, property, fault and command-line tests
	@scripts/deps.sh
	@$(MAKE) --no-print-directory tests
	@B=$(B) tests/run.sh

fidelity: quire  ## fidelity: stored, repaired and isolated pages against fresh prompts, with MODEL=file.gguf
	@if [ -z "$(MODEL)" ]; then echo "usage: make fidelity MODEL=file.gguf [ARGS='--n 500 --set examples']"; exit 2; fi
	@bench/fidelity.py --model "$(MODEL)" $(ARGS)

demo:  ## demo: install what is missing, build, index the example corpus, ask it
	@scripts/demo.sh

layers:  ## layers: check that includes point down the ranks only
	@scripts/layers.sh

asan:  ## asan: the tests under the address and undefined-behaviour sanitizers
	LIMIT=900 $(MAKE) FLAVOUR=asan B=build/asan test

# Without oneDNN, whose OpenMP runtime the sanitizer does not know. unit_forward takes over 15 minutes there.
TSAN := unit_base unit_kernels unit_batch unit_select unit_repair
tsan:  ## tsan: the pool and what runs in it under the thread sanitizer
	$(MAKE) FLAVOUR=tsan DNNL=0 FAISS=0 CUDA=0 B=build/tsan build/tsan/mkmodel $(TSAN:%=build/tsan/tests/%)
	@B=build/tsan LIMIT=900 tests/run.sh $(TSAN)

# Plain C on another processor, emulated. ARM64: a folder with what these tests need of Debian's arm64, unpacked
# (libc6 libgcc-s1 libcmocka0 libcmocka-dev libpcre2-8-0 libpcre2-dev libutf8proc2 libutf8proc-dev libjansson4
# libjansson-dev).
ARM64       ?= /opt/arm64
ARM64_TESTS := unit_kernels unit_linear unit_quant unit_forward
arm64: $(B)/mkmodel  ## arm64: kernels and forward pass in plain C for aarch64, under qemu
	@for p in aarch64-linux-gnu-gcc qemu-aarch64-static $(ARM64)/usr/include/cmocka.h; do \
		command -v $$p >/dev/null || [ -e $$p ] || { echo "arm64: skipped, no $$p"; exit 0; }; done; \
	$(MAKE) --no-print-directory CC=aarch64-linux-gnu-gcc ISAS=plain CUDA=0 DNNL=0 FAISS=0 B=build/arm64 \
		CFLAGS='-O2 -isystem $(ARM64)/usr/include' $(ARM64_TESTS:%=build/arm64/%) && \
	for t in $(ARM64_TESTS); do B=$(B) qemu-aarch64-static -L $(ARM64) build/arm64/$$t || exit 1; done

build/arm64/unit_%: tests/unit_%.c $(REF) $(filter $(B)/base/% $(B)/kernels/% $(B)/decode/%,$(LIB_OBJ))
	$(CC) $(CFLAGS) $(XCFLAGS) -o $@ $^ -L$(ARM64)/usr/lib/aarch64-linux-gnu -L$(ARM64)/lib/aarch64-linux-gnu \
		-lcmocka -lpcre2-8 -lutf8proc -ljansson -lm

# Needs clang. What is found lies in build/fuzz; put it into tests/corpus/NAME, where the tests replay it.
FUZZERS := $(patsubst tests/%.c,%,$(wildcard tests/fuzz_*.c))
TIME    ?= 60
SEEDS    = $(wildcard tests/corpus/$(1)) $(addprefix $(if $(QUIRE_DATA),$(QUIRE_DATA),../shared/data)/,$(SEEDS_$(1)))
SEEDS_ingest := readability-pages office-and-pdf html5lib-tests libxml2-tests naughty-strings
SEEDS_gguf   := stories260K

fuzz:  ## fuzz: fuzz every parser with libFuzzer, TIME=60 seconds each
	$(MAKE) FLAVOUR=fuzz CC=clang B=build/fuzz CUDA=0 DNNL=0 FAISS=0 $(FUZZERS)

$(FUZZERS): fuzz_%: $(B)/libquire.a $(B)/libpipelines.a
	@mkdir -p $(B)/tests $(B)/corpus/$*
	$(CC) $(CFLAGS) $(XCFLAGS) $(SAN) -fsanitize=fuzzer -o $(B)/tests/fuzz_$* tests/fuzz_$*.c $(B)/libpipelines.a $(B)/libquire.a -lcmocka \
		$(LDLIBS)
	@if [ -z "$(wildcard $(B)/corpus/$*/*)" ]; then find $(wildcard $(call SEEDS,$*)) -type f -size -64k | \
		while read -r f; do cp "$$f" $(B)/corpus/$*/$$(cksum <"$$f" | tr -d ' '); done; fi
	$(B)/tests/fuzz_$* -max_total_time=$(TIME) -timeout=20 -rss_limit_mb=3000 -max_len=65536 -print_final_stats=1 \
		-artifact_prefix=$(B)/ $(B)/corpus/$* 2>&1 | grep -vE '^#[0-9]+	(NEW|REDUCE|pulse)|NEW_FUNC'

check: layers  ## check: layers, warnings as errors, asan
	$(MAKE) WERROR=1 B=build/check tests
	$(MAKE) asan

check-long:  ## check-long: the tests with every needle and every kill point (an hour)
	@scripts/deps.sh
	@$(MAKE) --no-print-directory tests
	@QUIRE_LONG=1 LIMIT=3600 B=$(B) tests/run.sh
	@$(MAKE) --no-print-directory arm64

man: $(B)/quire.1  ## man: the manual page, from the table of options

$(B)/quire.1: $(B)/quire
	$< help --man >$@.tmp && mv $@.tmp $@

install: quire man  ## install: copy quire, its manual and the bundled model under PREFIX
	install -D -m 755 quire $(DESTDIR)$(PREFIX)/bin/quire
	install -D -m 644 $(B)/quire.1 $(DESTDIR)$(PREFIX)/share/man/man1/quire.1
	install -D -m 644 models/quire-reader.gguf $(DESTDIR)$(PREFIX)/share/quire/quire-reader.gguf

clean:  ## clean: remove everything that was built
	rm -rf build quire

FORCE:
.PHONY: all help deps-report tests test fidelity demo layers asan tsan arm64 fuzz $(FUZZERS) check check-long man install clean FORCE
.SECONDARY:

-include $(shell find $(B) $(CU) -name '*.d' 2>/dev/null)
