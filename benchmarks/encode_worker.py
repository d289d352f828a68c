"""One system of bench_encode in a process of its own, so that its peak memory is its own.

python encode_worker.py SYSTEM MODEL CACHE TEXTS VECTORS: reads a JSON list of texts, says "ready", then for each line
on stdin encodes them all and answers with a JSON line {"seconds", "cpu_seconds", "peak_mb"}; at the end of input the
vectors go to VECTORS (.npy). Every system uses as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Encode = Callable[[list[str]], Rows]
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
BATCH = 32  # texts; sentence-transformers' default, also given to the runtimes, which get it sorted by length in tokens


def firth(precision: str, *, by_torch: bool = False) -> Callable[[str, str], Encode]:
    def load(model: str, cache: str) -> Encode:
        from firth.sentence.encoder import SentenceEncoder
        from firth.sentence.network import BUDGET

        encoder = SentenceEncoder.load(model)
        if by_torch:
            inference = encoder._inference
            inference.forward = lambda p, skip: (inference.by_torch(p, skip), BUDGET)  # type: ignore[method-assign]
        return lambda texts: encoder.encode(texts, precision=precision)

    return load


def sentence_transformers(model: str, cache: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(model, device="cpu")
    return lambda texts: loaded.encode(texts, show_progress_bar=False)


def onnxruntime(model: str, cache: str) -> Encode:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    path = Path(cache) / "encode.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return padded(model, lambda feed: session.run(None, feed)[0])


def openvino(precision: str) -> Callable[[str, str], Encode]:
    def load(model: str, cache: str) -> Encode:
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": 1}
        compiled = openvino.Core().compile_model(str(Path(cache) / "encode.xml"), "CPU", settings)
        request = compiled.create_infer_request()
        return padded(model, lambda feed: request.infer(feed)[0])

    return load


def padded(model: str, run: Callable[[dict[str, Any]], Any]) -> Encode:
    """Batches sorted by length and padded, mean over the real tokens: how the runtimes are used with this model."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()

    def encode(texts: list[str]) -> Rows:
        rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        out = np.empty((len(rows), 384), np.float32)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            ids = np.zeros((len(batch), len(rows[batch[0]])), np.int64)
            mask = np.zeros_like(ids)
            for line, row in enumerate(batch):
                ids[line, : len(rows[row])] = rows[row]
                mask[line, : len(rows[row])] = 1
            hidden = run({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
            mean = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32)) / mask.sum(1, keepdims=True)
            out[batch] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out

    return encode


SYSTEMS: dict[str, Callable[[str, str], Encode]] = {
    "sentence-transformers": sentence_transformers,
    "onnxruntime float32": onnxruntime,
    "openvino float32": openvino("f32"),
    "openvino bfloat16": openvino("bf16"),
    "firth float32": firth("float32"),
    "firth bfloat16": firth("bfloat16"),
    "firth by torch": firth("auto", by_torch=True),
}


def export(model: str, cache: str) -> None:
    """encode.onnx and encode.xml from transformers' own model, made once."""
    folder = Path(cache)
    if (folder / "encode.onnx").exists() and (folder / "encode.xml").exists():
        return
    import openvino
    import torch
    from transformers import AutoModel

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(model, attn_implementation="sdpa").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(input_ids, attention_mask, token_type_ids).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tuple(torch.ones(3, 17, dtype=torch.int64) for _ in names)
    axes = {name: {0: "batch", 1: "length"} for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        torch.onnx.export(
            States(), example, str(folder / "encode.onnx"), input_names=names, dynamic_axes=axes, dynamo=False
        )
        converted = openvino.convert_model(
            States(), example_input=example, input=[(name, [-1, -1], np.int64) for name in names]
        )
    openvino.save_model(converted, str(folder / "encode.xml"), compress_to_fp16=False)


def main() -> None:
    system, model, cache, source, target = sys.argv[1:]
    warnings.simplefilter("ignore")  # some texts are cut, by every system alike
    if system == "export":
        export(model, cache)
        return
    if system not in ("onnxruntime float32", "openvino float32", "openvino bfloat16"):
        import torch

        torch.set_num_threads(THREADS)
    texts = json.loads(Path(source).read_text())
    encode = SYSTEMS[system](model, cache)
    print("ready", flush=True)
    vectors = np.empty((0, 0), np.float32)
    for line in sys.stdin:
        start, before = time.perf_counter(), os.times()
        vectors = encode(texts[: int(line)])
        after = os.times()
        cpu = after.user + after.system - before.user - before.system
        answer = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu, "peak_mb": peak()}
        print(json.dumps(answer), flush=True)
    np.save(target, vectors)


def peak() -> float:
    """The most memory that this process has held, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    main()
