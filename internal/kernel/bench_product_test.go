package kernel

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkProduct is one product C = A·Wᵀ on one thread with the variant in use, as float32|bfloat16/variant/MxNxK, on the shapes of
// SmolLM2-135M (q and o; k and v; gate and up; down; the head) and two of an 8B model, for one window of 512 tokens and for four. It
// reports GFLOP/s, and as best-GFLOP/s those of the fastest product; bench/peers/time_matmul.py runs PyTorch beside it.
//
// C is written whole by one call, as in package engine. The head's is never written whole there: its columns go into a tile of 2048, which
// stays in cache, with a call for each.
func BenchmarkProduct(b *testing.B) {
	const head, tile = 49152, 2048
	for _, bf16 := range []bool{false, true} {
		numerics := map[bool]string{false: "float32", true: "bfloat16"}[bf16]
		for _, m := range []int{512, 2048} {
			for _, nk := range [][2]int{{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {head, 576}, {4096, 4096}, {14336, 4096}} {
				n, k := nk[0], nk[1]
				b.Run(fmt.Sprintf("%s/%s/%dx%dx%d", numerics, Active(), m, n, k), func(b *testing.B) {
					ldc := n
					if n == head {
						ldc = tile
					}
					c := make([]float32, m*ldc)
					product := benchProduct(m, n, k, bf16)
					best := time.Duration(1<<63 - 1)
					for b.Loop() {
						start := time.Now()
						for p := 0; p < n/PanelWidth; p += ldc / PanelWidth {
							product(c, ldc, p, p+ldc/PanelWidth)
						}
						best = min(best, time.Since(start))
					}
					flop := 2 * float64(m) * float64(n) * float64(k)
					b.ReportMetric(flop*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
					b.ReportMetric(flop/float64(best.Nanoseconds()), "best-GFLOP/s")
				})
			}
		}
	}
}

// benchProduct returns a function that computes panels p0 to p1 of a product of random matrices.
func benchProduct(m, n, k int, bf16 bool) func(c []float32, ldc, p0, p1 int) {
	r := newSource(1)
	a := make([]float32, m*k)
	r.normal(a, 1)
	rows := make([]float32, PanelWidth*k) // the same for every panel: drawing 59 million numbers takes longer than the products
	r.normal(rows, 1)
	if !bf16 {
		w := NewPanels(n, k)
		for p := range w.Panels() {
			w.Pack(p*PanelWidth, rows, PanelWidth)
		}
		return func(c []float32, ldc, p0, p1 int) {
			v := w.View(p0, p1)
			MatMul(c, ldc, a, k, m, &v, 0, p1-p0, false)
		}
	}
	w := NewPanelsBF16(n, k)
	for p := range w.Panels() {
		w.Pack(p*PanelWidth, rows, PanelWidth)
	}
	rounded := make([]uint16, m*k)
	RoundBF16(rounded, a)
	return func(c []float32, ldc, p0, p1 int) {
		v := w.View(p0, p1)
		MatMulBF16(c, ldc, rounded, k, m, &v, 0, p1-p0, false)
	}
}
