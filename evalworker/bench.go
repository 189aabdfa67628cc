package evalworker

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// BenchInput is what [Bench] measures.
type BenchInput struct {
	Model     string        // as for a job
	Text      string        // file; empty: the text that goes with the builtin model
	SeqLen    int           // tokens a window
	Windows   int           // windows that a candidate is scored on, fewer if the text is short
	Offspring int           // candidates that are scored together
	Time      time.Duration // that a measurement takes at least
	// Resident returns the memory that the process has resident, 0 where that is not known.
	Resident func() int64
}

// Speeds is how fast a model is evaluated in one arithmetic. Rates are tokens of windows a second, those
// of candidates summed over the candidates: what a search is credited.
type Speeds struct {
	Numerics string
	Windows  int     // that a candidate was scored on
	NLL      float64 // the dense model's negative log-likelihood
	KL       float64 // and the KL divergence of one candidate from it
	// Alone is the rate of candidates that are scored one by one, without any cache: every weight is decoded each
	// time. Resident is the memory that the process had resident after that, 0 where that is not known.
	Alone    float64
	Resident int64
	// Shared is the rate of the offspring of one parent that are scored together, with the cache of the options.
	Shared float64
	// Decode is the time that one thread takes to decode the level of a unit and to pack it for products.
	Unit, Level string
	Decode      time.Duration
}

// Bench measures how fast this machine evaluates a model, in exact and in fast numerics. Candidates are like
// those of a search over bits: a parent of 4 bits everywhere, and offspring in which up to three pairs
// of modules exchange a bit, the mutation of EvoPress (arXiv 2410.14649, section 3).
func Bench(ctx context.Context, in BenchInput, o Options, report Reporter) ([]Speeds, error) {
	b := bench{in: in, options: o, report: report, levels: map[string]engine.Level{}}
	numerics := []engine.Numerics{engine.Exact, engine.Fast}
	b.progress = workflows.Progress{Total: int64(5 * len(numerics)), Unit: "measurements"}
	out := make([]Speeds, len(numerics))
	for i, n := range numerics {
		out[i].Numerics = n.String()
		if err := b.with(ctx, -1, n, func(s *slot) error { return b.alone(ctx, s, &out[i]) }); err != nil {
			return nil, err
		}
		if err := b.with(ctx, o.Cache, n, func(s *slot) error { return b.together(ctx, s, &out[i]) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bench is the state of [Bench].
type bench struct {
	in       BenchInput
	options  Options
	report   Reporter
	progress workflows.Progress
	lots     [][][]int32             // windows; a candidate is scored on one lot
	parent   map[string]string       // units to levels
	levels   map[string]engine.Level // that have been made, as in a slot
}

// with runs measurements on a freshly loaded model.
func (b *bench) with(ctx context.Context, cache int64, n engine.Numerics, measure func(*slot) error) error {
	o := b.options
	o.Slots, o.Cache = 1, cache
	w := NewWorkbench(o)
	defer w.Close() // it was only read
	s, err := w.models.acquire(ctx, modelKey{ref: b.in.Model, numerics: n})
	if err != nil {
		return err
	}
	defer w.models.release(s)
	if b.lots == nil {
		if err := b.prepare(s); err != nil {
			return err
		}
	}
	s.levels = b.levels
	return measure(s)
}

// prepare cuts the text into lots and sets the parent.
func (b *bench) prepare(s *slot) error {
	text, err := readSource(b.in.Text, "")
	if err != nil {
		return err
	}
	tokenizer, err := s.checkpoint.Tokenizer()
	if err != nil {
		return err
	}
	windows, err := text.windows(tokenizer, s.model.Config(), b.in.SeqLen, maxLots*b.in.Windows)
	if err != nil {
		return err
	}
	if windows.Len() < 2 {
		return jobErrorf("text %s gives one window of --seq-len %d, want at least 2", text.name, b.in.SeqLen)
	}
	n := min(b.in.Windows, windows.Len()/2)
	b.lots = slices.Collect(slices.Chunk(windows.Tokens[:windows.Len()/n*n], n))
	b.parent = map[string]string{}
	for _, m := range s.model.Config().Modules() {
		b.parent[m.Name] = benchLevel(4)
	}
	return nil
}

// maxLots bounds the lots of windows: the first warms up, each other serves one batch of offspring, since
// the states of the parent on the windows of an earlier one are kept.
const maxLots = 4

// benchLevel is the level of a number of bits: one that needs no bank.
func benchLevel(bits int) string { return fmt.Sprintf("rtn-%db-g64", bits) }

// offspring draws candidates for a lot of windows.
func (b *bench) offspring(c engine.Config, lot int) []map[string]string {
	rng := rand.New(rand.NewPCG(1, uint64(lot)))
	modules := c.Modules()
	all := make([]map[string]string, b.in.Offspring)
	for i := range all {
		all[i] = maps.Clone(b.parent)
		for range min(1+rng.IntN(3), 1+rng.IntN(3)) {
			down := modules[rng.IntN(len(modules))]
			up := modules[rng.IntN(len(modules))]
			for up == down || up.Rows*up.Cols != down.Rows*down.Cols { // so that the size stays
				up = modules[rng.IntN(len(modules))]
			}
			all[i][down.Name], all[i][up.Name] = benchLevel(3), benchLevel(5)
		}
	}
	return all
}

// candidates makes candidates, and keeps their levels for the models to come.
func (b *bench) candidates(s *slot, all []map[string]string) ([]engine.Candidate, error) {
	candidates, err := s.candidates(all, nil)
	maps.Copy(b.levels, s.levels)
	s.levels = b.levels
	return candidates, err
}

// step reports what is measured next.
func (b *bench) step(s *slot, what string) {
	b.progress.Note = s.model.Numerics().String() + ": " + what
	b.report(b.progress)
	b.progress.Done++
}

// alone measures candidates one by one, and the decoding of a level.
func (b *bench) alone(ctx context.Context, s *slot, out *Speeds) error {
	b.step(s, "candidates one by one, no cache")
	windows := b.lots[0]
	candidates, err := b.candidates(s, b.offspring(s.model.Config(), 0))
	if err != nil {
		return err
	}
	teacher, err := s.model.Teach(ctx, windows, nil)
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // what the making of the levels left behind
	next := 0
	took, err := b.best(func() error {
		next++
		return score(ctx, s, windows, teacher, candidates[next%len(candidates)])
	})
	if err != nil {
		return err
	}
	out.Windows, out.Alone, out.Resident = len(windows), b.tokens(windows, 1)/took.Seconds(), b.in.Resident()
	b.step(s, "decoding")
	m := s.model.Config().Modules()
	out.Unit, out.Level = m[len(m)-1].Name, benchLevel(4)
	one, err := s.candidates([]map[string]string{{out.Unit: out.Level}}, nil)
	if err != nil {
		return err
	}
	pack := packer(one[0][out.Unit].Weights, s.model.Numerics())
	out.Decode, err = b.best(func() error { pack(); return ctx.Err() })
	return err
}

// packer returns a function that decodes weights, checks and packs them for products, 32 rows at a time as the engine
// does.
func packer(w engine.Weights, n engine.Numerics) func() {
	rows, cols := w.Shape()
	decoded := make([]float32, kernel.PanelWidth*cols)
	var pack func(first, n int)
	if n == engine.Exact {
		p := kernel.NewPanels(rows, cols)
		pack = func(first, n int) { p.Pack(first, decoded, n) }
	} else {
		p := kernel.NewPanelsBF16(rows, cols)
		pack = func(first, n int) { p.Pack(first, decoded, n) }
	}
	return func() {
		for first := 0; first < rows; first += kernel.PanelWidth {
			n := min(kernel.PanelWidth, rows-first)
			w.DecodeRows(first, n, decoded)
			kernel.Finite(decoded[:n*cols])
			pack(first, n)
		}
	}
}

// together measures the dense model, one candidate, and batches of offspring, with a cache.
func (b *bench) together(ctx context.Context, s *slot, out *Speeds) error {
	windows := b.lots[0]
	var dense engine.Candidate
	b.step(s, "NLL")
	took, err := b.warm(func() error { return score(ctx, s, windows, nil, dense) })
	if err != nil {
		return err
	}
	out.NLL = b.tokens(windows, 1) / took.Seconds()
	b.step(s, "KL")
	teacher, err := s.model.Teach(ctx, windows, nil)
	if err != nil {
		return err
	}
	parent, err := b.candidates(s, []map[string]string{b.parent})
	if err != nil {
		return err
	}
	if took, err = b.warm(func() error { return score(ctx, s, windows, teacher, parent[0]) }); err != nil {
		return err
	}
	out.KL = b.tokens(windows, 1) / took.Seconds()
	b.step(s, "offspring of one parent")
	var spent time.Duration
	for lot := 1; lot == 1 || lot < len(b.lots) && spent < b.in.Time; lot++ {
		windows := b.lots[lot]
		candidates, err := b.candidates(s, b.offspring(s.model.Config(), lot))
		if err != nil {
			return err
		}
		teacher, err := s.model.Teach(ctx, windows, nil)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := score(ctx, s, windows, teacher, candidates...); err != nil {
			return err
		}
		took := time.Since(start)
		out.Shared = max(out.Shared, b.tokens(windows, len(candidates))/took.Seconds())
		spent += took
	}
	return nil
}

// score scores candidates; one without numbers is an error.
func score(ctx context.Context, s *slot, windows [][]int32, t *engine.Teacher, candidates ...engine.Candidate) error {
	outcomes, err := s.model.Score(ctx, windows, t, candidates, nil)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Err != nil {
			return o.Err
		}
	}
	return nil
}

// tokens is what the scoring of candidates on windows is credited.
func (b *bench) tokens(windows [][]int32, candidates int) float64 {
	return float64(len(windows) * b.in.SeqLen * candidates)
}

// best calls f again and again, at least once, and returns the shortest time that it took.
func (b *bench) best(f func() error) (time.Duration, error) {
	var best, spent time.Duration
	for best == 0 || spent < b.in.Time {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if spent += took; best == 0 || took < best {
			best = took
		}
	}
	return max(best, 1), nil
}

// warm is best after one call that does not count.
func (b *bench) warm(f func() error) (time.Duration, error) {
	if err := f(); err != nil {
		return 0, err
	}
	return b.best(f)
}
