"""Towers as files for other runtimes: torch.export (.pt2) and ONNX (.onnx), checked on writing."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from avts_ext._files import write_atomically
from avts_ext.models.pretrained import AudioEncoder, VideoEncoder

__all__ = ["OUTPUT_NAMES", "export"]

OUTPUT_NAMES = ("features", "embedding")
# Other runtimes order their sums differently; relative to the largest value of an output.
_TOLERANCE = 1e-4
_CHECK_BATCH = 3  # another one than that of the example, so that a frozen batch size shows

Outputs = Sequence[Tensor]


def export(encoder: AudioEncoder | VideoEncoder, path: str | os.PathLike[str]) -> None:
    """Write a tower and its head, from normalised input to map and embedding.

    The batch size stays free; the length is that of the clips the model was pretrained on. What
    must be done to the input before is in ``encoder.preprocessing``. The file is run on random
    input before it gets its name.

    Args:
        encoder: of `load_pretrained`, in evaluation mode.
        path: ending in ".pt2" for `torch.export.load` or in ".onnx". ONNX needs the packages onnx
            and onnxscript, and onnxruntime for the check.

    Raises:
        ValueError: another suffix, an encoder in training mode, or the file gives other outputs.
        OSError: the file cannot be written.
    """
    path = Path(path)
    writers = {".pt2": _write_pt2, ".onnx": _write_onnx}
    if path.suffix not in writers:
        raise ValueError(f"path must end in {' or '.join(writers)}, got {str(path)!r}")
    if encoder.training:
        raise ValueError("encoder must be in evaluation mode, got one in training mode")
    data, run = writers[path.suffix](encoder, _example(encoder, 2))
    inputs = _example(encoder, _CHECK_BATCH)
    with torch.no_grad():
        _check(str(path), run(inputs), encoder(inputs))
    write_atomically(path, data)


def _example(encoder: AudioEncoder | VideoEncoder, batch: int) -> Tensor:
    """Noise as input, already preprocessed."""
    clip = encoder.model.config.clip
    generator = torch.Generator().manual_seed(batch)
    if isinstance(encoder, AudioEncoder):
        raw = torch.randn(batch, clip.n_samples, generator=generator)
    else:
        shape = (batch, clip.n_frames, clip.height, clip.width, 3)
        raw = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    device = next(encoder.parameters()).device
    with torch.no_grad():
        return encoder.preprocess(raw.to(device)).contiguous()


def _write_pt2(
    encoder: AudioEncoder | VideoEncoder, example: Tensor
) -> tuple[bytes, Callable[[Tensor], Outputs]]:
    batch = torch.export.Dim("batch")
    program = torch.export.export(encoder, (example,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue(), torch.export.load(io.BytesIO(buffer.getvalue())).module()


def _write_onnx(
    encoder: AudioEncoder | VideoEncoder, example: Tensor
) -> tuple[bytes, Callable[[Tensor], Outputs]]:
    import onnxruntime

    program = torch.onnx.export(
        encoder,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["input"],
        output_names=list(OUTPUT_NAMES),
        verbose=False,
    )
    assert program is not None  # it is None only for the older exporter
    data = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> Outputs:
        found = session.run(list(OUTPUT_NAMES), {"input": inputs.cpu().numpy()})
        return [torch.from_numpy(output).to(inputs.device) for output in found]

    return data, run


def _check(path: str, found: Outputs, expected: Outputs) -> None:
    for name, got, wanted in zip(OUTPUT_NAMES, found, expected, strict=True):
        error = float((got - wanted).abs().max() / wanted.abs().max())
        if not error <= _TOLERANCE:
            raise ValueError(f"{path} was not written: its {name} differ by {error:.1e} of the max")
