package obs

import (
	"errors"
	"fmt"
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Damping is the share of the mean of H's diagonal that is added to the diagonal.
const Damping = 0.01

// maxResidual is how far H·(UᵀU·x) may be from x, relative to x, for a factor to be trusted. The
// damping bounds the condition number of H by 100 times the number of columns, so that a sound
// factorization in float64 stays below 1e-8.
const maxResidual = 1e-6

// Factor is the upper triangular U with UᵀU = H⁻¹, where H is the damped Hessian of the output error
// of linear modules that share an input.
type Factor struct {
	cols    int
	dead    []int     // columns whose input was always 0, ascending
	squares []float64 // mean squares of the inputs
	failure error
	inverse []float32 // 1/U_jj, all positive and finite
	stripes []uStripe
}

// stripe is the number of columns of U in a uStripe.
const stripe = 128

// uStripe holds columns of U as rows: element k of the row of column j is U[k,j], 0 below the diagonal.
// Beyond the stripe's last column nothing is kept, so that all stripes take half of the square.
type uStripe struct {
	ld   int // from row to row: not a power of two, whose lines would share few places of a cache
	data []float32
}

// New factors the Hessian that belongs to a Gram matrix: gram is Σ x·xᵀ over tokens inputs, cols x cols
// and symmetric, of which the upper triangle is read. It is not changed.
//
// A column whose input was always 0 is dead: nothing is known about its weights and nothing depends on
// them, so that H_jj = 1 stands for it and sweeps set its weights to 0. Then [Damping] times the mean
// of the diagonal is added to the diagonal.
//
// While it runs it takes 16 bytes for each element of H; the factor keeps 2.
//
// New returns an error if gram has another size, is not finite or has a negative diagonal. If the
// factorization fails all the same, the factor is the identity and [Factor.Failure] says why.
func New(gram []float32, cols, tokens int) (*Factor, error) {
	if cols <= 0 || len(gram) != cols*cols {
		return nil, fmt.Errorf("obs: Gram matrix of %d columns has %d elements", cols, len(gram))
	}
	if tokens <= 0 {
		return nil, fmt.Errorf("obs: Gram matrix of %d tokens", tokens)
	}
	for i := range cols {
		for j := i; j < cols; j++ {
			if v := float64(gram[i*cols+j]); math.IsNaN(v) || math.IsInf(v, 0) || i == j && v < 0 {
				return nil, fmt.Errorf("obs: Gram matrix has %v in row %d, column %d", v, i, j)
			}
		}
	}
	h := newHessian(gram, cols, tokens)
	f := &Factor{cols: cols, dead: h.dead, squares: make([]float64, cols), inverse: make([]float32, cols)}
	for j := range f.squares {
		f.squares[j] = float64(gram[j*cols+j]) / float64(tokens)
	}
	u, err := h.factor()
	if err != nil {
		f.failure = err
		clear(u)
		for j := range cols {
			u[j*cols+j] = 1
		}
	}
	f.store(u)
	return f, nil
}

// Cols is the number of columns of the modules that the factor is for.
func (f *Factor) Cols() int { return f.cols }

// MeanSquares returns the mean square of every column's input: half of the diagonal of H before it is damped. It must not be changed.
func (f *Factor) MeanSquares() []float64 { return f.squares }

// InverseDiag returns 1/U_jj for every column j, all positive and finite. It must not be changed.
func (f *Factor) InverseDiag() []float32 { return f.inverse }

// Dead lists the columns whose input was always 0, ascending.
func (f *Factor) Dead() []int { return f.dead }

// Failure is not nil if H could not be factored and U is the identity, so that sweeps feed no error
// back: GPTQ then does what round-to-nearest does.
func (f *Factor) Failure() error { return f.failure }

// store keeps u (cols x cols, upper triangular) in float32.
func (f *Factor) store(u []float64) {
	n := f.cols
	for first := 0; first < n; first += stripe {
		last := min(first+stripe, n)
		s := uStripe{ld: last + 16}
		s.data = make([]float32, (last-first)*s.ld)
		for k := range last {
			for j := max(first, k); j < last; j++ {
				s.data[(j-first)*s.ld+k] = float32(u[k*n+j])
			}
		}
		f.stripes = append(f.stripes, s)
	}
	for j := range n {
		f.inverse[j] = float32(1 / u[j*n+j])
	}
}

// hessian is H = scale·gram with the diagonal replaced.
type hessian struct {
	gram  []float32
	cols  int
	scale float64
	diag  []float64 // with dead columns and damping
	dead  []int
}

func newHessian(gram []float32, cols, tokens int) hessian {
	h := hessian{gram: gram, cols: cols, scale: 2 / float64(tokens), diag: make([]float64, cols)}
	mean := 0.0
	for j := range cols {
		d := h.scale * float64(gram[j*cols+j])
		if d == 0 {
			d = 1
			h.dead = append(h.dead, j)
		}
		h.diag[j] = d
		mean += d / float64(cols)
	}
	for j := range h.diag {
		h.diag[j] += float64(Damping * mean)
	}
	return h
}

// factor returns U, row-major. Where it returns an error the content is undefined.
//
// With J the reversal of the order of columns, J·H·J = L·Lᵀ gives H = (JLJ)·(JLJ)ᵀ, a product of an
// upper and a lower triangle, so that U = (JLJ)⁻¹ = J·L⁻¹·J: H⁻¹ itself is never formed.
func (h hessian) factor() ([]float64, error) {
	n := h.cols
	ld := n + 8 // not a power of two, whose rows would share few places of a cache
	a := make([]float64, n*ld)
	for i := range n {
		row := h.gram[(n-1-i)*n:][:n] // below the diagonal of J·H·J lies the upper triangle of H, reversed
		for j := range i {
			a[i*ld+j] = h.scale * float64(row[n-1-j])
		}
		a[i*ld+i] = h.diag[n-1-i]
	}
	l, ok := inverseCholesky(a, n, ld)
	u := a[:n*n]
	clear(u)
	if !ok {
		return u, errors.New("obs: the Hessian is not positive definite")
	}
	for i := range n {
		for j := range i + 1 {
			u[(n-1-i)*n+n-1-j] = l[(j/width64*n+i)*width64+j%width64]
		}
	}
	for j := range n {
		if d := u[j*n+j]; !(float32(d) > 0 && float32(1/d) > 0) || math.IsInf(float64(float32(d)), 0) || math.IsInf(float64(float32(1/d)), 0) {
			return u, fmt.Errorf("obs: the factor of the Hessian has %v on its diagonal", d)
		}
	}
	if r := h.residual(u); !(r < maxResidual) {
		return u, fmt.Errorf("obs: the factor of the Hessian is off by %.1e", r)
	}
	return u, nil
}

// residual is |H·UᵀU·x - x| / |x| for a fixed x without structure.
func (h hessian) residual(u []float64) float64 {
	n := h.cols
	x, y, z := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range x {
		x[i] = math.Sin(float64(i*i + 1))
	}
	for i := range n { // y = U·x
		for j := i; j < n; j++ {
			y[i] += float64(u[i*n+j] * x[j])
		}
	}
	for i := range n { // z = Uᵀ·y
		for j := i; j < n; j++ {
			z[j] += float64(u[i*n+j] * y[i])
		}
	}
	clear(y)
	for i := range n { // y = H·z
		y[i] += float64(h.diag[i] * z[i])
		for j := i + 1; j < n; j++ {
			v := h.scale * float64(h.gram[i*n+j])
			y[i] += float64(v * z[j])
			y[j] += float64(v * z[i])
		}
	}
	off, size := 0.0, 0.0
	for i := range n {
		d := y[i] - x[i]
		off += float64(d * d)
		size += float64(x[i] * x[i])
	}
	return math.Sqrt(off / size)
}

// Finite returns an error that names the first weight of w, a matrix of cols columns, that is NaN or
// infinite.
func Finite(w []float32, cols int) error {
	if kernel.Finite(w) {
		return nil
	}
	for i, v := range w {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return fmt.Errorf("weight %v in row %d, column %d", v, i/cols, i%cols)
		}
	}
	return nil
}
