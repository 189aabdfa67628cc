// Package engine reads models of the Llama family and scores compressed versions of them: weights and
// levels in, log-likelihoods, divergences and Gram matrices out.
//
//	ck, err := engine.Open("SmolLM2-135M-Instruct.Q4_1.gguf") // or a Hugging Face folder, or "builtin"
//	...
//	defer ck.Close()
//	tok, err := ck.Tokenizer()
//	...
//	m, err := engine.Load(ck, engine.Options{})
//	...
//	defer m.Close()
//	window := tok.Encode(text)[:512]
//	outcomes, err := m.Score(ctx, [][]int32{window}, nil, []engine.Candidate{nil}, nil)
//	score := outcomes[0].Windows[0]
//	fmt.Println(score.NLL / float64(score.Tokens)) // nats a token
//
// Supported are Llama 2 and 3, Mistral, Qwen 2 and 3 and what has their shape (SmolLM2), from
// safetensors in F32, F16 and BF16 and from GGUF in those types, Q4_0 to Q8_0 and Q2_K to Q6_K,
// with byte-level BPE tokenizers and SentencePiece's BPE. Whatever else a file asks for is refused when it is opened, with
// an error that matches [ErrUnsupported]; a file that is cut short or lies matches [ErrMalformed].
// No file, however hostile, makes this package panic or take memory out of proportion to its size.
//
// Duties of the caller:
//   - Keep a [Checkpoint] open, and its files unchanged, as long as a tensor or a model of it is in
//     use: weights are mapped, not copied. A mapped file that another process truncates kills this
//     one when it is read.
//   - Use a [Model] from one goroutine at a time. Checkpoints, tensors and tokenizers are safe for
//     concurrent use.
//
// Vaswani et al., Attention Is All You Need, arXiv 1706.03762; Touvron et al., Llama 2, arXiv
// 2307.09288.
package engine
