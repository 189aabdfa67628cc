// Package prune makes sparse levels of linear modules: it chooses the weights to remove and stores the
// others as a bitmask and 16-bit values. And it chooses the channels of MLPs that are to be narrower, see [Width].
//
//	spec, err := prune.Parse("sparsegpt-0.50")
//	size := spec.Bytes(rows, cols)                 // exact, before anything is built
//	packed, err := spec.Build(w, rows, cols, f)    // f: the module's obs.Factor
//
// Exactly round(s·rows·cols) weights are removed, ties between equal scores by position, so that a
// level of the same name takes the same bytes in every module of a shape.
//
// Magnitude pruning removes the smallest weights of the whole matrix. SparseGPT (E. Frantar and
// D. Alistarh, SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot, arXiv
// 2301.00774) removes in each block of 128 columns the weights with the smallest w²/U_jj², over all
// rows of the block, and makes the columns after them absorb the error, that of rounding to 16 bits
// included. Blocks share the removals by cumulative rounding. Wanda (M. Sun, Z. Liu, A. Bair and J. Z. Kolter, A Simple and Effective
// Pruning Approach for Large Language Models, arXiv 2306.11695) removes in each row the weights with the smallest |w|·‖x_j‖ and
// changes no other.
//
// A level such as sparsegpt-2:4 leaves 2 of every 4 consecutive weights of a row, whichever the method.
//
// The caller checks the meaning of what it prunes: Build takes any finite matrix.
package prune
