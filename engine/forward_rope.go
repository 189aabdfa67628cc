package engine

import (
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// turns holds the rotary embedding of every position that was needed so far.
//
// Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding,
// arXiv:2104.09864; pairs are (i, i+HeadDim/2), as Hugging Face lays them out.
type turns struct {
	inv      []float32 // [HeadDim/2] angle of a pair per position
	cos, sin []float32 // [positions x HeadDim/2]
	scale    float32   // 1/sqrt(HeadDim), the factor of the scores
}

// reach computes the turns of positions 0 … n-1. The angle is rounded to float32
// before its cosine and sine are taken, as the reference implementations do.
func (t *turns) reach(n int) {
	t.scale = float32(1 / math.Sqrt(float64(2*len(t.inv))))
	for p := len(t.cos) / len(t.inv); p < n; p++ {
		for _, inv := range t.inv {
			sin, cos := sincos(float64(float32(p) * inv))
			t.cos = append(t.cos, float32(cos))
			t.sin = append(t.sin, float32(sin))
		}
	}
}

// turn applies the norm of a head, if there is one, and the rotation of a
// position to every head of a row.
func (m *Model) turn(row, norm []float32, position int) {
	d := m.config.HeadDim
	cos := m.turns.cos[position*d/2:][:d/2]
	sin := m.turns.sin[position*d/2:][:d/2]
	for at := 0; at < len(row); at += d {
		head := row[at:][:d]
		if norm != nil {
			kernel.RMSNorm(head, head, norm, float32(m.config.NormEps))
		}
		kernel.Rope(head, cos, sin)
	}
}
