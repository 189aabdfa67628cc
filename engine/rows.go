package engine

import "github.com/paretopress/paretopress/internal/kernel"

// depthBF16 is what the length of a row of bfloat16 numbers is rounded up to for
// a product: see kernel.PanelsBF16.
const depthBF16 = 32

// rows are activations in the form in which a product reads them: float32 in
// exact numerics, bfloat16 in fast. ld numbers lie between the starts of two rows.
type rows struct {
	f32  []float32
	bf16 []uint16
	ld   int
}

// buffer is the memory of rows, which grows as it is needed.
type buffer struct {
	f32  []float32
	bf16 []uint16
	line []float32 // a row before it is rounded
}

// rows returns n rows of cols numbers in the memory of a buffer.
func (m *Model) rows(b *buffer, n, cols int) rows {
	if m.numerics == Exact {
		ld := pad(cols)
		b.f32 = grow(b.f32, n*ld)
		return rows{f32: b.f32, ld: ld}
	}
	ld := padBF16(cols)
	b.bf16 = grow(b.bf16, n*ld)
	return rows{bf16: b.bf16, ld: ld}
}

// set fills row i by a function that writes it as float32.
func (r rows) set(i, cols int, b *buffer, write func(row []float32)) {
	if r.f32 != nil {
		write(r.f32[i*r.ld:][:cols])
		return
	}
	b.line = grow(b.line, cols)
	write(b.line)
	r.round(i, b.line)
}

// round writes the float32 numbers of a row to row i of bfloat16 rows, and zeros
// up to the depth that a product reads.
func (r rows) round(i int, row []float32) {
	r.write(i, 0, row)
	r.pad(i, len(row))
}

// write writes float32 numbers to row i from column first on.
func (r rows) write(i, first int, part []float32) {
	if r.f32 != nil {
		copy(r.f32[i*r.ld+first:], part)
		return
	}
	kernel.RoundBF16(r.bf16[i*r.ld+first:][:len(part)], part)
}

// pad writes zeros behind the cols numbers of row i, up to the depth that a product of bfloat16
// reads.
func (r rows) pad(i, cols int) {
	if r.f32 == nil {
		clear(r.bf16[i*r.ld+cols:][:ceil(cols, depthBF16)-cols])
	}
}

// from returns the rows from row i on.
func (r rows) from(i int) rows {
	if r.f32 != nil {
		return rows{f32: r.f32[i*r.ld:], ld: r.ld}
	}
	return rows{bf16: r.bf16[i*r.ld:], ld: r.ld}
}

// clone copies n rows.
func (r rows) clone(n int) rows {
	c := rows{ld: r.ld}
	if r.f32 != nil {
		c.f32 = append(c.f32, r.f32[:n*r.ld]...)
	} else {
		c.bf16 = append(c.bf16, r.bf16[:n*r.ld]...)
	}
	return c
}

// bytes is the memory that the rows take.
func (r rows) bytes() int64 { return 4*int64(len(r.f32)) + 2*int64(len(r.bf16)) }

// pad returns a row length of at least n for a matrix that a product reads: rows
// whose distance is a multiple of 4 KiB compete for the same cache sets.
func pad(n int) int {
	if n%1024 == 0 {
		return n + 16
	}
	return n
}

// padBF16 is pad for bfloat16 rows.
func padBF16(n int) int {
	n = ceil(n, depthBF16)
	if n%2048 == 0 {
		return n + depthBF16
	}
	return n
}

// ceil rounds n up to a multiple of to.
func ceil(n, to int) int { return (n + to - 1) / to * to }

// grow returns a slice of n elements, buf's memory where it suffices.
func grow[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	return buf[:n]
}
