#!/usr/bin/env python3
"""What PyTorch does on this device in the shapes of bench/cuda_kernels.c: the peers of the same run.

    bench/gpu_peers.py          lines {"peer","of","tokens","value","unit"}

copy of device memory, a maximum as what only reads, attention of one token (SDPA, 32 query and 8 KV heads of 128, halves), one row and 512
rows by 14336 x 4096 in bf16. Medians of CUDA events over inputs that no cache holds.
"""
import json
import statistics

import torch


def milliseconds(body, n=50):
    for i in range(5):
        body(i)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(n + 1)]
    events[0].record()
    for i in range(n):
        body(i)
        events[i + 1].record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def say(peer, of, tokens, value, unit):
    print(json.dumps({"peer": peer, "of": of, "tokens": tokens, "value": float(f"{value:.4g}"), "unit": unit}),
          flush=True)


def reading(tokens):
    sets = max(2, 131072 // tokens * 2)
    a = [torch.randn(2 * 8 * tokens * 64, device="cuda") for _ in range(sets)]
    ms = milliseconds(lambda i: a[i % sets].amax())
    say("read", "device memory", tokens, a[0].numel() * 4 / ms / 1e6, "GB/s")
    say("read", "device memory", tokens, ms * 1e3, "us")


def attention(tokens):
    sets = max(2, 131072 // tokens * 2)
    kv = [[torch.randn(1, 8, tokens, 128, device="cuda", dtype=torch.float16) for _ in range(2)] for _ in range(sets)]
    q = torch.randn(1, 32, 1, 128, device="cuda", dtype=torch.float16)
    ms = milliseconds(lambda i: torch.nn.functional.scaled_dot_product_attention(
        q, kv[i % sets][0], kv[i % sets][1], enable_gqa=True))
    say("attend", "f16 by SDPA", tokens, 2 * 2 * 8 * tokens * 128 / ms / 1e6, "GB/s")
    say("attend", "f16 by SDPA", tokens, ms * 1e3, "us")


def product(rows):
    w = [torch.randn(14336, 4096, device="cuda", dtype=torch.bfloat16) for _ in range(8)]
    x = torch.randn(rows, 4096, device="cuda", dtype=torch.bfloat16)
    ms = milliseconds(lambda i: x @ w[i % 8].T)
    say("product", "bf16", rows, 2 * 14336 * 4096 / ms / 1e6, "GB/s of weights")
    say("product", "bf16", rows, 2e-9 * rows * 14336 * 4096 / ms, "TFLOP/s")


def main():
    a = torch.empty(1 << 30, device="cuda", dtype=torch.uint8).random_()
    b = torch.empty_like(a)
    say("copy", "device memory", 0, 2 * a.numel() / milliseconds(lambda i: b.copy_(a)) / 1e6, "GB/s")
    del a, b
    for tokens in 16384, 131072:
        reading(tokens)
        attention(tokens)
    for rows in 1, 512:
        product(rows)


if __name__ == "__main__":
    main()
