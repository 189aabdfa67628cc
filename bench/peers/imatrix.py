"""Importance data in the GGUF form of llama.cpp's tool `imatrix`, which its tool `quantize` reads.

For each weight NAME there are NAME.in_sum2, the sums over tokens of the squares of its inputs, and NAME.counts, the number
of tokens, both float32.
"""

import gguf
import numpy as np


def write(path, sums, chunks, chunk_size, dataset):
    """Writes {tensor: sums of squares over all tokens of the chunks, which have chunk_size tokens}."""
    writer = gguf.GGUFWriter(path, None)
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", [dataset])
    writer.add_uint32("imatrix.chunk_count", chunks)
    writer.add_uint32("imatrix.chunk_size", chunk_size)
    for name in sorted(sums):
        writer.add_tensor(f"{name}.in_sum2", sums[name].astype(np.float32)[None])
        writer.add_tensor(f"{name}.counts", np.array([[chunks * chunk_size]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path):
    """{tensor: mean squares of its inputs}, float32."""
    arrays = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    means = {}
    for key, sums in arrays.items():
        name = key.removesuffix(".in_sum2")
        if name != key:
            means[name] = (sums / arrays[f"{name}.counts"]).reshape(-1)
    return means
