// Package kernel holds the kernels of the evaluator in Go assembly, each beside its pure-Go reference, and the decoders of packed weight
// formats.
//
//	w := kernel.NewPanels(rows, cols)            // pack once
//	w.Pack(0, weights, rows)
//	pool := kernel.NewPool(0)
//	pool.Run(w.Panels(), func(p int) {           // C = A · Wᵀ, a panel a task
//		kernel.MatMul(c, rows, a, cols, m, w, p, p+1, false)
//	})
//
// # Exactness
//
// Every function has one definition, the pure-Go loop of this package, and every variant (see [Variants]) returns its bits: the same result
// on AVX-512, on AVX2 and without assembly, for any number of threads and any split of the rows, panels or columns between calls.
//
//   - A matrix product is one chain for each element, c = fma(a[k], w[k], c) with k ascending. An accumulator that is stored and loaded
//     again does not change, so blocking over k is invisible.
//   - Reductions have 16 lanes: element i belongs to lane i mod 16, a lane takes its elements in ascending order, and the lanes are folded
//     as l and l+8, l and l+4, l and l+2, l and l+1.
//   - Transcendental functions are one polynomial, evaluated with fused multiply-adds in one order.
//
// Two exceptions: where a result is NaN it is NaN in every variant, but the sign and payload of the NaN are not specified; and a sum of
// products of bfloat16 numbers, [MatMulBF16], is the variant's, though the same for any number of threads and any split of rows and panels.
//
// Go has no float32 fused multiply-add, and float32(math.FMA(…)) rounds twice. The reference rounds the float64 sum to odd first, after
// S. Boldo and G. Melquiond, Emulation of a FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd, IEEE Transactions on
// Computers 57(4), 2008.
//
// # Duties of the caller
//
// Functions run on the calling goroutine; split work with [Pool]. Slices that a call writes must not overlap those it reads, except where a
// function says that they may be the same. Shapes that do not fit are a bug of the caller: the functions panic.
// [Use] may not be called while kernels run; results would still be right, but the variant of a call under way is not defined.
package kernel

//go:generate go run -C _gen .
