"""llama.cpp through the low-level functions of llama-cpp-python, as the scripts beside this one need it."""

import ctypes
import re

import llama_cpp
import numpy as np


@llama_cpp.llama_log_callback
def _log(level, text, _):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode(errors="replace"), end="", flush=True)


llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()


class Model:
    """A GGUF file in memory, with a context for one window. It is a context manager.

    Everything but the sizes is llama.cpp's default: a key and value cache in 16 bits, products of quantized weights
    with activations in 8 bits, weights laid out anew for the CPU where it does so. lora is the path of an adapter that is applied to it.
    """

    def __init__(self, path, seq_len, threads, lora=None):
        self.path, self.seq_len = path, seq_len
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp does not load it")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = seq_len
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            llama_cpp.llama_model_free(self.model)
            raise SystemExit(f"{path}: llama.cpp makes no context of {seq_len} tokens")
        if lora:
            adapter = llama_cpp.llama_adapter_lora_init(self.model, lora.encode())  # freed with the model
            if not adapter:
                raise SystemExit(f"{lora}: llama.cpp does not load it beside {path}")
            one = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1)
            if llama_cpp.llama_set_adapters_lora(self.context, one[0], 1, one[1]):
                raise SystemExit(f"{lora}: llama.cpp does not apply it")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def logits(self, ids):
        """The logits of all positions of a window, float32, valid until the next call."""
        self._decode(ids, [1] * len(ids))
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), (len(ids), self.n_vocab))

    def last_logits(self, ids):
        """The logits of the last position alone, as above."""
        self._decode(ids, [0] * (len(ids) - 1) + [1])
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), (self.n_vocab,))

    def _decode(self, ids, wanted):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, wanted[i]
        code = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_batch_free(batch)
        if code:
            raise SystemExit(f"{self.path}: llama_decode gives {code}")

    def tokens(self, text):
        """The tokens of a text, bytes, without special ones.

        llama.cpp's tokenizer overflows its stack on a long text, so that it gets some 2 kB at a time, cut before
        a space between two letters: where every pre-tokenizer of these families cuts too.
        """
        ids, at = [], 0
        while at < len(text):
            cut = re.compile(rb"[A-Za-z](?= [A-Za-z])").search(text, at + 2048)
            piece = text[at : cut.end() if cut else len(text)]
            at += len(piece)
            buffer = (llama_cpp.llama_token * (len(piece) + 8))()
            count = llama_cpp.llama_tokenize(self.vocab, piece, len(piece), buffer, len(buffer), False, False)
            if count < 0:
                raise SystemExit(f"{self.path}: llama_tokenize gives {count}")
            ids += buffer[:count]
        return ids


def quantize(source, target, ftype, threads, importance=None, pure=False):
    """Writes target, source quantized by llama.cpp to one of its file types.

    ftype is the name of a LLAMA_FTYPE_MOSTLY_…, or F32. importance has a float32 array for each tensor's name, the mean squares
    of the inputs that its columns see.
    """
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = threads
    params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_ALL_F32" if ftype == "F32" else f"LLAMA_FTYPE_MOSTLY_{ftype}")
    params.allow_requantize = True
    params.pure = pure
    if importance:
        entries = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()  # the last one has no name
        kept = []
        for entry, (name, values) in zip(entries, importance.items()):
            kept.append(np.ascontiguousarray(values, np.float32))
            entry.name, entry.size = name.encode(), kept[-1].size
            entry.data = kept[-1].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix = entries
    code = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    if code:
        raise SystemExit(f"{source}: llama_model_quantize to {ftype} gives {code}")
