package search

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
)

// Evaluation is a scored candidate.
type Evaluation struct {
	Candidate Candidate `json:"candidate"`
	Digest    string    `json:"digest"` // [Space.Phenotype]
	Bytes     int64     `json:"bytes"`  // stored bytes of the whole model
	KL        float64   `json:"kl"`     // mean nats a token
	NLL       float64   `json:"nll"`    // mean nats a token
	Tokens    int64     `json:"tokens"` // of text it was scored on
	Failed    bool      `json:"failed,omitempty"`
}

// Objective is a number of an evaluation that is minimised.
type Objective func(Evaluation) float64

// Archive takes every evaluation of a run, a stage at a time, and derives the Pareto front.
//
// Scores on different windows are not comparable as numbers: one minibatch is harder than another.
// Those of a stage are, as they are of the same text. So the archive judges in two steps.
//
//   - A candidate stands or falls in the stage it was last scored in: it stands if no other of that
//     stage dominates it there. The parent of a generation that is beaten falls, whatever it scored
//     before, and so does everything that lost to it.
//   - Among those that stand the widest measured come first. A candidate measured on fewer tokens is
//     on the front only where it is incomparable to all that were measured on more: it never
//     displaces one of them, nor is it let in beside one it only seems to beat.
//
// The stages matter in their order, the evaluations of a stage do not.
type Archive struct {
	objectives []Objective
	last       map[string]standing // by digest
	count      int
}

type standing struct {
	Evaluation
	stands bool
}

// NewArchive returns an archive that minimises the objectives; without any, bytes and KL.
func NewArchive(objectives ...Objective) *Archive {
	if len(objectives) == 0 {
		objectives = []Objective{
			func(e Evaluation) float64 { return float64(e.Bytes) },
			func(e Evaluation) float64 { return e.KL },
		}
	}
	return &Archive{objectives: objectives, last: map[string]standing{}}
}

// Add takes the evaluations of one stage, all scored on the same windows. Of candidates with the
// same digest the first counts. Those that failed are counted and take no part.
func (a *Archive) Add(stage []Evaluation) {
	a.count += len(stage)
	points := make([][]float64, len(stage))
	for i, e := range stage {
		points[i] = a.point(e)
	}
	seen := map[string]bool{}
	for i, e := range stage {
		if seen[e.Digest] || e.Failed {
			continue
		}
		seen[e.Digest] = true
		beaten := false
		for j := range stage {
			beaten = beaten || !stage[j].Failed && dominates(points[j], points[i])
		}
		a.last[e.Digest] = standing{e, !beaten}
	}
}

// Len is the number of evaluations added, those that failed and repeats included.
func (a *Archive) Len() int { return a.count }

// Front returns the front: mutually non-dominated, sorted by the first objective, then the others,
// then the digest. Of candidates that are equal in every objective all are on it.
func (a *Archive) Front() []Evaluation {
	var stand []Evaluation
	for _, s := range a.last {
		if s.stands {
			stand = append(stand, s.Evaluation)
		}
	}
	slices.SortFunc(stand, func(x, y Evaluation) int {
		return cmp.Or(cmp.Compare(y.Tokens, x.Tokens), slices.Compare(a.point(x), a.point(y)), cmp.Compare(x.Digest, y.Digest))
	})
	var front []Evaluation
	for from := 0; from < len(stand); {
		to := from
		for to < len(stand) && stand[to].Tokens == stand[from].Tokens {
			to++
		}
		wider := len(front)
		for i := from; i < to; i++ {
			if !a.excluded(stand[i], stand[from:to], front[:wider]) {
				front = append(front, stand[i])
			}
		}
		from = to
	}
	slices.SortFunc(front, func(x, y Evaluation) int {
		return cmp.Or(slices.Compare(a.point(x), a.point(y)), cmp.Compare(x.Digest, y.Digest))
	})
	return front
}

// excluded says whether e is dominated by a peer, which was measured on as many tokens, or
// comparable to one on the front that was measured on more.
func (a *Archive) excluded(e Evaluation, peers, wider []Evaluation) bool {
	p := a.point(e)
	for _, o := range peers {
		if dominates(a.point(o), p) {
			return true
		}
	}
	for _, o := range wider {
		if q := a.point(o); weaklyDominates(p, q) || weaklyDominates(q, p) {
			return true
		}
	}
	return false
}

// Finalists picks n of the front, spread over it: the ends first, then always the one farthest
// from those picked, with each objective scaled to the range of the front.
func (a *Archive) Finalists(n int) []Evaluation {
	front := a.Front()
	if n >= len(front) || n < 1 {
		return front[:min(max(n, 0), len(front))]
	}
	points := make([][]float64, len(front))
	for i, e := range front {
		points[i] = a.point(e)
	}
	var out []Evaluation
	for _, i := range spread(points, n) {
		out = append(out, front[i])
	}
	return out
}

// spread picks n of the points, the first and the last among them, by farthest-point sampling in
// scaled coordinates, and returns their indexes ascending.
func spread(points [][]float64, n int) []int {
	low, scale := slices.Clone(points[0]), slices.Clone(points[0])
	for k := range low {
		high := low[k]
		for _, p := range points {
			low[k], high = min(low[k], p[k]), max(high, p[k])
		}
		if scale[k] = high - low[k]; scale[k] == 0 {
			scale[k] = 1
		}
	}
	scaled := make([][]float64, len(points))
	for i, p := range points {
		scaled[i] = slices.Clone(p)
		floats.Sub(scaled[i], low)
		floats.Div(scaled[i], scale)
	}
	picked := []int{0}
	next := len(points) - 1
	for len(picked) < n {
		picked = append(picked, next)
		far := -1.0
		for i, p := range scaled {
			near := math.Inf(1)
			for _, k := range picked {
				near = min(near, floats.Distance(p, scaled[k], 1))
			}
			if near > far {
				far, next = near, i
			}
		}
	}
	slices.Sort(picked)
	return picked
}

func (a *Archive) point(e Evaluation) []float64 {
	p := make([]float64, len(a.objectives))
	for i, f := range a.objectives {
		p[i] = f(e)
	}
	return p
}

// weaklyDominates says whether p is no worse than q anywhere.
func weaklyDominates(p, q []float64) bool {
	for i := range p {
		if p[i] > q[i] {
			return false
		}
	}
	return true
}

// dominates says whether p is no worse than q anywhere and better somewhere.
func dominates(p, q []float64) bool { return weaklyDominates(p, q) && !slices.Equal(p, q) }
