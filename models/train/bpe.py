"""Byte-level BPE in GPT-2's manner: training, encoding, decoding.

    python3 bpe.py TEXTS.jsonl OUT.json     trains 8,192 tokens on prepared texts (text.py)

The three specials come first: 0 <|bos|>, 1 <|eos|>, 2 <|page|>.
"""

import collections
import heapq
import json
import re
import sys
import unicodedata

SPECIALS = ["<|bos|>", "<|eos|>", "<|page|>"]
SIZE = 8192


def char_class(letter):
    """The characters whose Unicode category starts with the letter, as the inside of a regex
    class."""
    out, first = [], None
    for c in range(0x110001):
        inside = c < 0x110000 and unicodedata.category(chr(c))[0] == letter
        if inside and first is None:
            first = c
        elif not inside and first is not None:
            out.append("\\U%08x-\\U%08x" % (first, c - 1))
            first = None
    return "".join(out)


L, N = char_class("L"), char_class("N")
WORDS = re.compile(rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{L}]+| ?[{N}]+| ?[^\s{L}{N}]+|\s+(?!\S)|\s+")


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return dict(zip(plain + rest, map(chr, plain + [256 + i for i in range(len(rest))])))


LETTER = byte_letters()
BYTE = {v: k for k, v in LETTER.items()}


class Tokenizer:
    def __init__(self, vocab, merges):
        self.vocab = vocab
        self.id = {t: i for i, t in enumerate(vocab)}
        self.rank = {m: i for i, m in enumerate(merges)}
        self.cache = {}

    def word(self, w):
        ids = self.cache.get(w)
        if ids is not None:
            return ids
        a = [LETTER[b] for b in w.encode()]
        while len(a) > 1:
            rank, i = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(a, a[1:])))
            if rank == 1 << 30:
                break
            a[i : i + 2] = [a[i] + a[i + 1]]
        ids = [self.id[x] for x in a]
        if len(self.cache) < 400000:
            self.cache[w] = ids
        return ids

    def encode(self, text):
        out = []
        for w in WORDS.findall(text):
            out += self.word(w)
        return out

    def decode(self, ids):
        return bytes(BYTE[c] for i in ids if i > 2 for c in self.vocab[i]).decode("utf8", "replace")


def train(counts, size=SIZE):
    """Merges the likeliest neighbours until the vocabulary is full. counts: word -> how often."""
    words = [([LETTER[b] for b in w.encode()], c) for w, c in sorted(counts.items()) if c > 1]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (w, c) in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += c
            where[p].add(i)
    heap = [(-c, p) for p, c in pairs.items()]
    heapq.heapify(heap)
    vocab, merges = SPECIALS + [LETTER[b] for b in range(256)], []
    while len(vocab) < size:
        count, pair = heapq.heappop(heap)
        if pairs.get(pair, 0) != -count:
            if pairs.get(pair, 0) > 0:
                heapq.heappush(heap, (-pairs[pair], pair))
            continue
        vocab.append(pair[0] + pair[1])
        merges.append(pair)
        touched = set()
        for i in where.pop(pair):
            old, c = words[i]
            new, k = [], 0
            while k < len(old):
                both = tuple(old[k : k + 2]) == pair
                new.append(vocab[-1] if both else old[k])
                k += 2 if both else 1
            for p in zip(old, old[1:]):
                pairs[p] -= c
                touched.add(p)
            for p in zip(new, new[1:]):
                pairs[p] += c
                where[p].add(i)
                touched.add(p)
            words[i] = (new, c)
        for p in sorted(touched):
            if pairs[p] > 0:
                heapq.heappush(heap, (-pairs[p], p))
    return vocab, merges


def main():
    counts = collections.Counter()
    with open(sys.argv[1]) as f:
        for line in f:
            for p in json.loads(line)["parts"]:
                counts.update(WORDS.findall(" " + p))
    for n in range(2100):  # numbers of every kind of page
        counts[" %d" % n] += 400
    for w in ("Question", "Answer"):
        counts[w] += 10**7
    vocab, merges = train(counts)
    with open(sys.argv[2], "w") as f:
        json.dump(dict(vocab=vocab, merges=merges), f)


if __name__ == "__main__":
    main()
