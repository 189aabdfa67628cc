package prune

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/obs"
)

// MethodWidth is the method of levels that make an MLP narrower, as their names write it.
const MethodWidth = "width"

// Width is the level of an MLP that keeps some of its channels: the same rows of gate and up, and columns of down.
type Width struct{ channels int }

// ParseWidth reads a level name such as width-1024: the number of channels that are kept, from 1 on.
func ParseWidth(level string) (Width, error) {
	digits, ok := strings.CutPrefix(level, MethodWidth+"-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || strconv.Itoa(n) != digits {
		return Width{}, fmt.Errorf("prune: level %q: want a number of channels from 1 on, as in width-1024", level)
	}
	return Width{n}, nil
}

// String returns the level name.
func (w Width) String() string { return fmt.Sprintf("%s-%d", MethodWidth, w.channels) }

// Channels is the number of channels that are kept.
func (w Width) Channels() int { return w.channels }

// Keep returns the channels of the largest importance, in ascending order; of equal ones the first. Those of a narrower level
// are among those of a wider one. There must be as many as the level keeps.
func (w Width) Keep(importance []float64) []int {
	order := make([]int, len(importance))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(importance[b], importance[a]) })
	keep := order[:w.channels]
	slices.Sort(keep)
	return keep
}

// importanceRows is how many rows are decoded at a time.
const importanceRows = 64

// Importance is that of the channels of a gated MLP, by its weights alone: gate and up [channels x hidden], down [hidden x channels].
// It is the product of the Euclidean norms of what a channel has in each of the three. That bounds what it adds to the residual stream
// for an input of norm 1, as |silu(x)| ≤ |x|, and stays as it is where the channel's up is scaled and its down by the inverse.
//
// The magnitude of coupled structures, aggregated by product: Ma, Fang and Wang, LLM-Pruner, arXiv 2305.11627.
//
// It returns an error if a weight is not finite. Shapes must agree.
func Importance(gate, up, down engine.Weights) ([]float64, error) {
	channels, hidden := gate.Shape()
	if r, c := up.Shape(); r != channels || c != hidden {
		panic(fmt.Sprintf("prune: up is %d x %d beside a gate of %d x %d", r, c, channels, hidden))
	}
	if r, c := down.Shape(); r != hidden || c != channels {
		panic(fmt.Sprintf("prune: down is %d x %d beside a gate of %d x %d", r, c, channels, hidden))
	}
	var sums [3][]float64 // squares
	for i, w := range []engine.Weights{gate, up, down} {
		sums[i] = make([]float64, channels)
		rows, cols := w.Shape()
		data := make([]float32, importanceRows*cols)
		for first := 0; first < rows; first += importanceRows {
			n := min(importanceRows, rows-first)
			w.DecodeRows(first, n, data)
			if err := obs.Finite(data[:n*cols], cols); err != nil {
				return nil, fmt.Errorf("prune: width: %w", err)
			}
			for k, x := range data[:n*cols] {
				at := k % cols
				if i < 2 {
					at = first + k/cols
				}
				sums[i][at] = float64(float64(x)*float64(x)) + sums[i][at]
			}
		}
	}
	importance := sums[0]
	for i := range importance {
		importance[i] = math.Sqrt(sums[0][i]) * math.Sqrt(sums[1][i]) * math.Sqrt(sums[2][i])
	}
	return importance, nil
}
