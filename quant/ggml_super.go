package quant

import (
	"math"
	"slices"

	"github.com/paretopress/paretopress/internal/kernel"
)

// superSize is the number of weights of a super-block.
const superSize = 256

// super is a choice for a super-block: binary16 numbers, and integers of its sub-blocks.
type super struct {
	d, dmin      uint16
	scales, mins [16]int
	errs         [16]float64
	err          float64
}

// grade is that of a sub-block.
func (c *super) grade(s int) grade { return gradeOf(c.d, c.dmin, c.scales[s], c.mins[s]) }

// gradeOf multiplies as the decoders do.
func gradeOf(d, dmin uint16, scale, minimum int) grade {
	return newGrade(float32(kernel.DecodeF16(d)*float32(scale)), -float32(kernel.DecodeF16(dmin)*float32(minimum)))
}

// errOf is the error of a sub-block.
func (f *form) errOf(x, v []float64, d, dmin uint16, scale, minimum int) float64 {
	g := gradeOf(d, dmin, scale, minimum)
	return f.err(x, v, float64(g.scale), float64(g.offset))
}

// ideals are scales and minima (offsets with their sign changed) of sub-blocks, as if they were free.
type ideals struct {
	scales, mins [16]float64
}

// ideal searches for those of a sub-block.
func (f *form) ideal(x, v []float64) (scale, minimum float64) {
	if !f.affine {
		return f.linear(x, v), 0
	}
	scale, offset := f.affineRange(x, v)
	return scale, -offset
}

// integers are those nearest to a scale and a minimum.
func (f *form) integers(scale, minimum float64, d, dmin uint16) (int, int) {
	return nearestInt(scale, d, f.scaleLow, f.scaleTop), nearestInt(minimum, dmin, 0, f.minTop)
}

func nearestInt(x float64, unit uint16, low, top int) int {
	u := kernel.DecodeF16(unit)
	if u == 0 {
		return 0
	}
	return int(math.RoundToEven(min(max(x/float64(u), float64(low)), float64(top))))
}

// chooseSuper searches for binary16 numbers and integers together. It first finds the best scale and minimum of each sub-block by itself, then
// tries binary16 numbers that make the largest of them one of the last integers, and refines the most promising ones.
func (f *form) chooseSuper(b *block, x, v []float64) bool {
	var id ideals
	subs := superSize / f.sub
	for s := range subs {
		id.scales[s], id.mins[s] = f.ideal(f.part(x, s), f.part(v, s))
	}
	const kept = 2
	var most [kept]super
	for i := range most {
		most[i].err = math.Inf(1)
	}
	var pairs [][2]uint16
	mins := f.units(id.mins[:subs], 0, f.minTop)
	for _, d := range f.units(id.scales[:subs], f.scaleLow, f.scaleTop) {
		for _, dmin := range mins {
			pairs = append(pairs, [2]uint16{d, dmin})
		}
	}
	for some := range slices.Chunk(pairs, width8) {
		var c [width8]super
		for s := range subs {
			t := f.errs()
			for i, p := range some {
				c[i].d, c[i].dmin = p[0], p[1]
				c[i].scales[s], c[i].mins[s] = f.integers(id.scales[s], id.mins[s], p[0], p[1])
				t.add(p[0], p[1], c[i].scales[s], c[i].mins[s])
			}
			for i, e := range t.of(f.part(x, s), f.part(v, s)) {
				c[i].errs[s] = e
				c[i].err += e
			}
		}
		for i := range some {
			for j := range most {
				if c[i].err < most[j].err {
					c[i], most[j] = most[j], c[i]
				}
			}
		}
	}
	best := -1
	for i := range most {
		if math.IsInf(most[i].err, 1) {
			continue
		}
		f.refine(&most[i], x, v)
		if best < 0 || most[i].err < most[best].err {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	c := &most[best]
	b.scale, b.offset, b.scales, b.mins = c.d, c.dmin, c.scales, c.mins
	for s := range subs {
		f.settleOn(b, s, id.scales[s], id.mins[s], f.part(x, s), f.part(v, s))
	}
	return true
}

// part is the s-th sub-block of a super-block.
func (f *form) part(x []float64, s int) []float64 { return x[s*f.sub:][:f.sub] }

// units lists the binary16 numbers to try as the unit of numbers that are to become integers from low to top.
func (f *form) units(of []float64, low, top int) []uint16 {
	largest := 0.0
	for _, x := range of {
		if math.Abs(x) > math.Abs(largest) {
			largest = x
		}
	}
	if largest == 0 {
		return []uint16{0}
	}
	var units []uint16
	add := func(last float64) {
		bits := kernel.EncodeF16(float32(largest / last))
		if bits&0x7fff < 0x7c00 {
			units = append(units, bits)
		}
	}
	step := max(float64(top)/20, 1)
	for _, i := range [4]float64{-0.5, 0, 1, 2} {
		beyond := float64(i * step)
		if i < 0 {
			beyond = i
		}
		add(float64(top) - beyond)
		if low < 0 {
			add(float64(low) + beyond)
		}
	}
	return units
}

// refine lowers the error of a choice: integers move to neighbours that err less, then the binary16 numbers become the best for the codes, and
// again while that helps.
func (f *form) refine(c *super, x, v []float64) {
	for range 4 {
		c.err = 0
		for s := range superSize / f.sub {
			f.climb(c, s, f.part(x, s), f.part(v, s))
			c.err += c.errs[s]
		}
		next := f.resolve(c, x, v)
		if !(next.err < c.err) {
			return
		}
		*c = next
	}
}

// climb moves the integers of a sub-block while a neighbour errs less.
func (f *form) climb(c *super, s int, x, v []float64) {
	c.errs[s] = f.errOf(x, v, c.d, c.dmin, c.scales[s], c.mins[s])
	for range settle {
		scale, minimum := c.scales[s], c.mins[s]
		t := f.errs()
		var around [width8][2]int
		for i := scale - 1; i <= scale+1; i++ {
			for j := minimum - 1; j <= minimum+1; j++ {
				if i < f.scaleLow || i > f.scaleTop || j < 0 || j > f.minTop || i == scale && j == minimum {
					continue
				}
				around[t.n] = [2]int{i, j}
				t.add(c.d, c.dmin, i, j)
			}
		}
		for i, e := range t.of(x, v) {
			if e < c.errs[s] {
				c.errs[s], c.scales[s], c.mins[s] = e, around[i][0], around[i][1]
			}
		}
		if c.scales[s] == scale && c.mins[s] == minimum {
			return
		}
	}
}

// resolve returns the choice with the binary16 numbers that are best for its integers and codes.
func (f *form) resolve(c *super, x, v []float64) super {
	// x ≈ d·P + dmin·R with P = scale·k, R = -minimum
	var pp, pr, rr, xp, xr float64
	for s := range superSize / f.sub {
		g := c.grade(s)
		sum := newFit(f.part(x, s), f.part(v, s))
		sum.round(f, f.part(x, s), f.part(v, s), g.inverse, float64(g.offset))
		a, m := float64(c.scales[s]), -float64(c.mins[s])
		pp += float64(a * a * sum.vkk)
		pr += float64(a * m * sum.vk)
		rr += float64(m * m * sum.v)
		xp += float64(a * sum.p)
		xr += float64(m * sum.vx)
	}
	next := *c
	switch det := float64(pp*rr) - float64(pr*pr); {
	case det > 1e-9*float64(pp*rr):
		next.d = kernel.EncodeF16(float32((float64(xp*rr) - float64(xr*pr)) / det))
		next.dmin = kernel.EncodeF16(float32((float64(xr*pp) - float64(xp*pr)) / det))
	case pp > 0:
		next.d = kernel.EncodeF16(float32((xp - float64(float64(kernel.DecodeF16(c.dmin))*pr)) / pp))
	}
	next.err = 0
	if next.d&0x7fff >= 0x7c00 || next.dmin&0x7fff >= 0x7c00 {
		next.err = math.Inf(1)
		return next
	}
	for s := range superSize / f.sub {
		next.err += f.errOf(f.part(x, s), f.part(v, s), next.d, next.dmin, next.scales[s], next.mins[s])
	}
	return next
}

// rechoose sets the integers of a sub-block anew, for weights that have changed since its super-block was chosen.
func (f *form) rechoose(b *block, s int, x, v []float64) {
	scale, minimum := f.ideal(x, v)
	f.settleOn(b, s, scale, minimum, x, v)
}

// settleOn sets the integers of a sub-block to the better of what climbs lead to from those it has and from the nearest to its ideals. Done
// again for the same weights it changes nothing.
func (f *form) settleOn(b *block, s int, scale, minimum float64, x, v []float64) {
	c := super{d: b.scale, dmin: b.offset, scales: b.scales, mins: b.mins}
	f.climb(&c, s, x, v)
	now, scaleNow, minNow := c.errs[s], c.scales[s], c.mins[s]
	c.scales[s], c.mins[s] = f.integers(scale, minimum, c.d, c.dmin)
	if c.scales[s] != scaleNow || c.mins[s] != minNow {
		if f.climb(&c, s, x, v); !(c.errs[s] < now) {
			c.scales[s], c.mins[s] = scaleNow, minNow
		}
	}
	b.scales[s], b.mins[s], b.grades[s] = c.scales[s], c.mins[s], c.grade(s)
}
