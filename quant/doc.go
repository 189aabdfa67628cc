// Package quant makes quantized levels of linear modules: integers of 2 to 8 bits with a scale and a
// zero for each group of consecutive columns of a row, or blocks of one of ggml's types.
//
//	spec, err := quant.Parse("gptq-3b-g64")
//	size := spec.Bytes(rows, cols)                 // exact, before anything is built
//	packed, err := spec.Build(w, rows, cols, f)    // f: the module's obs.Factor
//
// A weight is stored as q = clamp(round(w/s) + z, 0, 2^b-1) and is worth s·(q-z). The grid of a group
// whose weights reach from min to max is that of GPTQ's quantizer:
//
//	asymmetric: min and max are widened to include 0, s = (max-min)/(2^b-1), z = round(-min/s)
//	symmetric:  s = 2·max|w|/(2^b-1), z = 2^(b-1)
//
// A group of zeros has the range -1 to 1. Scales are rounded to binary16 before anything is divided by
// them, and ties are rounded to even.
//
// Round-to-nearest (rtn) takes each weight by itself. GPTQ (E. Frantar et al., GPTQ: Accurate
// Post-Training Quantization for Generative Pre-trained Transformers, arXiv 2210.17323) visits columns
// in their order in blocks of 128 and makes those to come absorb the error. The grid of a group is
// set when its first column is reached, from weights that have absorbed all errors before it, also
// where the group starts within a block.
//
// # Types of ggml
//
// A level named as ggml names a type (q4_K, iq4_nl, mxfp4) is rounded by itself, with the least squared error that a search finds; imatrix-
// before the name weights the squares by the mean squares of the inputs, as an importance matrix of llama.cpp gives them; gptq- feeds errors
// back. The weights are worth what ggml's decoders make of the blocks, bit for bit, and the scale of a block is rounded to binary16 (MXFP4: to
// a power of two) before any weight is compared with it.
//
// The search takes a grid of scales, or of scales and offsets, that cut off more and more of the largest weights. It replaces each by the
// least-squares fit to what it rounds the weights to, and repeats that with the best of them while the error falls. In super-blocks it then
// tries units for the scales of sub-blocks, moves the integers to neighbours that err less and fits the units to the codes, in turns. So its
// error is at most about that of a quantizer which takes the scale of the largest weight, or the best of fewer scales.
//
// GPTQ chooses a block when its first column is reached, and the integers of a sub-block again when that is reached, from weights that have
// absorbed all errors before. Columns weigh there what their errors count as they are reached, 1/U_jj², which takes account of what the later
// ones can make up for.
//
// The caller checks the meaning of what it quantizes: Build takes any finite matrix whose scales fit in
// binary16.
package quant
