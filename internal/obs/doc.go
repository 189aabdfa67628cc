// Package obs is the core that methods of the Optimal Brain Surgeon family share: it replaces the
// weights of a linear module column by column and makes the columns that are still to come absorb the
// error.
//
//	f, err := obs.New(gram, cols, tokens)     // once for all levels of all modules with this input
//	if f.Failure() != nil { … }               // no error is fed back: say so
//	f.Sweep(panels, span, strategy)           // strategy chooses what is stored: SparseGPT, GPTQ
//
// For the rows w of a weight matrix and inputs x the error of the output is Δw·H·Δwᵀ with
// H = (2/N)·Σ x·xᵀ. When column j becomes q_j, the best that the later columns can do is
// w[j:] -= (w_j - q_j)/U_jj · U[j,j:], where UᵀU = H⁻¹ and U is upper triangular. U does not depend on
// the weights or on what is stored, so that one factor serves every level.
//
// The caller owns the matrices: [Factor.Sweep] leaves in its argument what is stored. Weights must be finite (see
// [Finite]); [New] checks the Gram matrix. Everything runs on the calling goroutine, and a Factor may
// be used from several at once.
//
// B. Hassibi and D. Stork, Second order derivatives for network pruning: Optimal Brain Surgeon, 1992;
// E. Frantar and D. Alistarh, Optimal Brain Compression, arXiv 2208.11580; the column order and the
// Cholesky form are those of GPTQ, arXiv 2210.17323, and SparseGPT, arXiv 2301.00774.
package obs
