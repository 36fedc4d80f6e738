"""From documents and questions to packed token lists, in exactly the prompt that `quire ask` sends.

    <|bos|> { <|page|> title \\n pages }...  \\nQuestion: q\\nAnswer:  answer<|eos|>

Modes say what a document's tokens see: "docs" its own text (KV made once, per document), "joint"
everything before (one prompt), "isolated" only the same page (used to measure what that loses). In
"docs" and "isolated" every run starts with its own copy of <|bos|>, as it does when a document is
encoded alone; questions see only the first."""

import dataclasses

import numpy as np
import torch

BOS, EOS, PAGE = 0, 1, 2
CHUNK = 128  # tokens of one attention block
REFUSAL = "not stated"


@dataclasses.dataclass
class Doc:
    title: str
    parts: list  # sentences with the space or newline that precedes them


@dataclasses.dataclass
class Question:
    text: str
    answer: str
    kind: str
    evidence: tuple = ()  # (document, part) pairs that the answer needs


@dataclasses.dataclass
class Example:
    docs: list
    questions: list


@dataclasses.dataclass
class Options:
    mode: str = "docs"
    page: int = 128  # most tokens a page
    drop: float = 0.0  # chance that a page without evidence is missing
    gap: bool = False  # a missing page leaves its positions empty
    hide: bool = False  # a missing page was still encoded with its document
    lm: float = 0.0  # share of page tokens that are also trained on
    answers: bool = True  # False: the questions end with "Answer:", for generation
    longest: int = 4000
    total: int = 4800  # with questions


def cut_pages(tok, doc, limit):
    """[(tokens, first part, last part)]: parts joined while they fit; a part longer than a page is
    split."""
    pages, cur, first = [], [], 0
    for i, part in enumerate(doc.parts):
        ids = tok.encode(part)
        if cur and len(cur) + len(ids) > limit:
            pages.append((cur, first, i - 1))
            cur = []
        if not cur:
            first = i
        cur = cur + ids
        while len(cur) > limit:
            pages.append((cur[:limit], first, i))
            cur, first = cur[limit:], i
    if cur:
        pages.append((cur, first, len(doc.parts) - 1))
    return pages


class Packed:
    """One example as lists; see Batch for their meaning."""

    def __init__(self):
        self.tok, self.pos, self.start, self.run = [], [], [], []
        self.blocks, self.ranges = [], []
        self.rows, self.target, self.kind, self.group = [], [], [], []
        self.first = 0  # first token of the questions
        self.npages = 0
        self.distance = []  # per question: pages between header and evidence
        self.questions = []

    def add(self, ids, pos):
        self.tok += ids
        self.pos += range(pos, pos + len(ids))

    def close_run(self, begin, lm, rng):
        """Causal blocks for the tokens since begin, and some of them as language model targets."""
        end = len(self.tok)
        self.start += [0] * (end - begin)
        self.run += [begin] * (end - begin)
        for c in range(begin, end, CHUNK):
            stop = min(end, c + CHUNK)
            r = len(self.ranges)
            if c > begin:
                self.ranges.append((begin, c))
            self.blocks.append((c, stop, r, len(self.ranges)))
            self.start[c:stop] = [c] * (stop - c)
        if lm:
            for i in range(begin, end - 1):
                if self.tok[i] != BOS and rng.random() < lm:
                    self.rows.append(i)
                    self.target.append(self.tok[i + 1])
                    self.kind.append("lm")
                    self.group.append(-1)


def pack(tok, ex, rng, o):
    """Returns a Packed, or None when the example does not fit."""
    p = Packed()
    needed = {e for q in ex.questions for e in q.evidence}
    visible, lost, page_of = [], set(), {}
    p.add([BOS], 0)
    at, begin = 1, 0
    for d, doc in enumerate(ex.docs):
        header = [PAGE] + tok.encode(doc.title + "\n")
        pages = cut_pages(tok, doc, o.page)
        pieces = [(header, True)]
        for n, (ids, first, last) in enumerate(pages):
            has = any((d, i) in needed for i in range(first, last + 1))
            gone = not has and len(pages) > 1 and rng.random() < o.drop
            for i in range(first, last + 1):
                page_of.setdefault((d, i), n + 1)
                if gone:
                    lost.add((d, i))
            pieces.append((ids, not gone))
            p.npages += not gone
        if d and o.mode == "docs":
            p.close_run(begin, o.lm, rng)
            begin = len(p.tok)
            p.add([BOS], at - 1)
        for n, (ids, seen) in enumerate(pieces):
            if o.mode == "isolated" and (d or n):
                p.close_run(begin, o.lm, rng)
                begin = len(p.tok)
                p.add([BOS], at - 1)
            if seen or o.hide:
                if seen:
                    visible.append((len(p.tok), len(p.tok) + len(ids)))
                p.add(ids, at)
            if seen or o.hide or o.gap:
                at += len(ids)
        if len(p.tok) > o.longest:
            return None
    p.close_run(begin, o.lm, rng)
    r0 = len(p.ranges)
    p.ranges.append((0, 1))
    for a, b in visible:
        if p.ranges[-1][1] == a and len(p.ranges) > r0:
            p.ranges[-1] = (p.ranges[-1][0], b)
        else:
            p.ranges.append((a, b))
    p.first = begin = len(p.tok)
    for q in ex.questions:
        if any(e in lost for e in q.evidence):
            continue
        head = tok.encode("\nQuestion: " + q.text.strip() + "\nAnswer:")
        answer = tok.encode(" " + q.answer.strip()) + [EOS]
        if len(p.tok) + len(head) + len(answer) > o.total:
            break
        s = len(p.tok)
        if not o.answers:
            answer = answer[:1]
        p.add(head + answer[:-1], at)
        p.start += [s] * (len(p.tok) - s)
        p.run += [s] * (len(p.tok) - s)
        for j, t in enumerate(answer):
            p.rows.append(s + len(head) - 1 + j)
            p.target.append(t)
            p.kind.append(q.kind)
            p.group.append(len(p.questions))
        if len(p.tok) - begin >= CHUNK:
            p.blocks.append((begin, len(p.tok), r0, len(p.ranges)))
            begin = len(p.tok)
        p.questions.append(q)
        p.distance.append(max((page_of.get(e, 0) for e in q.evidence), default=0))
    if not p.questions:
        return None
    if begin < len(p.tok):
        p.blocks.append((begin, len(p.tok), r0, len(p.ranges)))
    return p


SIZES = [64 * i for i in (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 76)]


def lay_out(items):
    """[(item, tokens to fill it up to)], long ones first. Few sizes: each is set up once."""
    items = sorted(items, key=lambda p: -len(p.tok))
    return [(p, next(s for s in SIZES if s >= len(p.tok))) for p in items]


class Batch:
    """Several packed examples as one list.

    tok, pos int [N]; start int [N]: first visible token of the own block; blocks int [B,4], ranges
    int [R,2] as in kernels.cpp; rows, target int [M]: supervised places; kind, group, pages: per
    row, its task, question and page count. The rest says the same as the blocks token by token, for
    plain.py: run [N]: tokens of one run see each other; asks, seen bool [N]: it is a question,
    questions see it; groups [(first token, examples, tokens of each)]: each example is a group of its
    own, or, with pad, those of like length are one, filled up with tokens that see only themselves.
    """

    def __init__(self, items, pad=False):
        lists = "tok pos start blocks ranges rows target kind group run groups"
        cat = {k: [] for k in lists.split()}
        asks, seen = [], []
        self.pages, self.questions, groups = [], [], 0
        for p, size in lay_out(items) if pad else [(p, len(p.tok)) for p in items]:
            n, r, fill = len(cat["tok"]), len(cat["ranges"]), size - len(p.tok)
            cat["tok"] += p.tok + [BOS] * fill
            cat["pos"] += p.pos + [0] * fill
            cat["start"] += [s + n for s in p.start]
            cat["blocks"] += [(a + n, b + n, c + r, d + r) for a, b, c, d in p.blocks]
            cat["ranges"] += [(a + n, b + n) for a, b in p.ranges]
            cat["run"] += [i + n for i in p.run] + list(range(n + size - fill, n + size))
            last = cat["groups"][-1] if pad and cat["groups"] else (0, 0, 0)
            if last[2] == size:
                cat["groups"][-1] = (last[0], last[1] + 1, size)
            else:
                cat["groups"].append((n, 1, size))
            _, _, a, b = p.blocks[-1]
            mark = bytearray(size)
            for c, d in p.ranges[a:b]:
                mark[c:d] = b"\1" * (d - c)
            seen.append(mark)
            asks.append(bytes(p.first) + b"\1" * (len(p.tok) - p.first) + bytes(fill))
            cat["rows"] += [i + n for i in p.rows]
            cat["target"] += p.target
            cat["kind"] += p.kind
            cat["group"] += [g + groups if g >= 0 else -1 for g in p.group]
            self.pages += [p.npages] * len(p.rows)
            self.questions += p.questions
            groups += len(p.questions)
        self.kind = np.array(cat["kind"])
        self.group = np.array(cat["group"])
        self.pages = np.array(self.pages)
        self.tok = torch.tensor(cat["tok"])
        self.rows = torch.tensor(cat["rows"])
        self.pos, self.start, self.target = (
            torch.tensor(cat[k], dtype=torch.int32) for k in ("pos", "start", "target")
        )
        self.blocks = torch.tensor(cat["blocks"], dtype=torch.int32)
        self.ranges = torch.tensor(cat["ranges"], dtype=torch.int32).reshape(-1, 2)
        self.run, self.groups = torch.tensor(cat["run"]), cat["groups"]
        self.asks, self.seen = (
            torch.from_numpy(np.frombuffer(b"".join(x), np.uint8).astype(bool))
            for x in (asks, seen)
        )
        self.answer_blocks = self.blocks  # those that hold rows
        if (self.group >= 0).all():
            self.answer_blocks = self.blocks[self.asks[self.blocks[:, 0].long()]].contiguous()
        self.mask_list = None

    def to(self, device):
        """Moves what the network reads."""
        for k in "tok pos start target rows blocks ranges run asks seen".split():
            setattr(self, k, getattr(self, k).to(device))
        return self

    def masks(self):
        """Per group, which token sees which: bool [examples,1,T,T]; on a GPU what is added to scores."""
        if self.mask_list is None:
            self.mask_list = []
            for first, count, size in self.groups:
                run, asks, seen = (
                    x[first : first + count * size].view(count, size)
                    for x in (self.run, self.asks, self.seen)
                )
                m = (run[:, :, None] == run[:, None]) | (asks[:, :, None] & seen[:, None])
                m = m.tril()[:, None]
                if m.is_cuda:
                    m = (~m).bfloat16() * -1e4
                self.mask_list.append(m)
        return self.mask_list
