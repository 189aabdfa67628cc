package sparseft

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// Mask says which weights of a tensor there are: those that a pruned model has kept, whatever their value (a weight that
// was kept may well be zero).
type Mask struct {
	bits []uint64
	n    int
}

// NewMask returns a mask of n weights, flat and row-major, that keeps none.
func NewMask(n int) *Mask { return &Mask{bits: make([]uint64, (n+63)/64), n: n} }

// Len is the number of weights that the mask speaks of.
func (m *Mask) Len() int { return m.n }

// Keep marks a weight as kept.
func (m *Mask) Keep(i int) { m.bits[i>>6] |= 1 << (i & 63) }

// drop takes the mark from a weight.
func (m *Mask) drop(i int) { m.bits[i>>6] &^= 1 << (i & 63) }

// Has tells whether a weight is kept. A nil mask keeps all.
func (m *Mask) Has(i int) bool { return m == nil || m.bits[i>>6]>>(i&63)&1 != 0 }

// Count is the number of weights that are kept.
func (m *Mask) Count() int {
	n := 0
	for _, word := range m.bits {
		n += bits.OnesCount64(word)
	}
	return n
}

// clear sets what the mask does not keep to zero; w begins at the flat index from.
func (m *Mask) clear(w []float32, from int) {
	if m == nil {
		return
	}
	for i := range w {
		if !m.Has(from + i) {
			w[i] = 0
		}
	}
}

// CheckNM returns an error that names the first group of m consecutive weights of a row with more than n that are not
// zero. w is row-major with cols columns; a shorter group at the end of a row may have n too.
func CheckNM(w []float32, cols, n, m int) error {
	for start := 0; start < len(w); start += cols {
		row := w[start:min(len(w), start+cols)]
		for c := 0; c < len(row); c += m {
			used := 0
			for _, v := range row[c:min(len(row), c+m)] {
				if v != 0 {
					used++
				}
			}
			if used > n {
				return fmt.Errorf("row %d has %d weights in columns %d to %d, the pattern %d:%d allows %d", start/cols, used, c, min(len(row), c+m)-1, n, m, n)
			}
		}
	}
	return nil
}

// random returns the generator for a use of a tensor: one for each run's seed, tensor and use, so that nothing of it is
// state and no tensor's choices depend on another's.
func random(seed uint64, tensor, use string) *rand.Rand {
	h := sha256.New()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	h.Write(b[:])
	fmt.Fprintf(h, "%d:%s%s", len(tensor), tensor, use)
	d := h.Sum(nil)
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(d), binary.LittleEndian.Uint64(d[8:])))
}

// sample draws k of the indices below n for which allowed is true, of which there are total, each set equally likely. They
// are sorted (Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2S).
func sample(r *rand.Rand, k, n, total int, allowed func(int) bool) []int32 {
	out := make([]int32, 0, k)
	for i := 0; i < n && len(out) < k; i++ {
		if !allowed(i) {
			continue
		}
		if r.Uint64N(uint64(total)) < uint64(k-len(out)) {
			out = append(out, int32(i))
		}
		total--
	}
	return out
}

// size is how many bytes the mask takes.
func (m *Mask) size() int64 { return int64(m.n+7) / 8 }

// bytes are the bits of the mask, eight weights a byte, the first in the lowest bit.
func (m *Mask) bytes() []byte {
	b := make([]byte, 0, 8*len(m.bits))
	for _, word := range m.bits {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b[:(m.n+7)/8]
}

// maskOf reads what bytes returned for n weights.
func maskOf(b []byte, n int) (*Mask, error) {
	if len(b) != (n+7)/8 {
		return nil, fmt.Errorf("a mask of %d bytes for %d weights", len(b), n)
	}
	m := NewMask(n)
	for i, x := range b {
		m.bits[i/8] |= uint64(x) << (8 * (i % 8))
	}
	if n%64 != 0 && m.bits[n/64]>>(n%64) != 0 {
		return nil, fmt.Errorf("a mask with bits beyond its %d weights", n)
	}
	return m, nil
}
