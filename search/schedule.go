package search

import (
	"fmt"
	"slices"
)

// Schedule is how much text each step of a search takes.
type Schedule struct {
	// Initial is how many random candidates the first parent is picked from, and on how many
	// windows. It is skipped where there is only one way to meet the target.
	Initial Stage `json:"initial"`
	// Offspring is the number of distinct children of a generation.
	Offspring int `json:"offspring"`
	// Stages of selection, each on a fresh random minibatch. Keep of the last is 1.
	Stages []Stage `json:"stages"`
	// Flips bounds the level switches of a mutation: it makes min(U, U) of them, with U uniform
	// in 1 to Flips.
	Flips int `json:"flips"`
	// Exchange lets a mutation also trade between groups of different sizes, where the sum still
	// comes out exactly: one large module a level up for several small ones a level down.
	Exchange bool `json:"exchange,omitempty"`
	// Merge adds to the survivors of the first stage, for each number k it lists, a candidate that
	// has the changes of the k best of it, as far as they touch different units. EvoPress has none.
	Merge []int `json:"merge,omitempty"`
	// Generations ends the search; 0 leaves that to the budget.
	Generations int `json:"generations,omitempty"`
}

// Stage is one round of scoring: Keep of the candidates that enter are left after it.
type Stage struct {
	Keep    int `json:"keep"`
	Windows int `json:"windows"`
}

// Validate says what is wrong with a schedule.
func (s Schedule) Validate() error {
	switch {
	case s.Offspring < 1 || s.Offspring > 1<<16:
		return fmt.Errorf("search: a schedule of %d offspring, want 1 to %d", s.Offspring, 1<<16)
	case len(s.Stages) == 0 || len(s.Stages) > 64:
		return fmt.Errorf("search: a schedule of %d stages, want 1 to 64", len(s.Stages))
	case s.Stages[len(s.Stages)-1].Keep != 1:
		return fmt.Errorf("search: the last stage keeps %d candidates, want 1", s.Stages[len(s.Stages)-1].Keep)
	case s.Flips < 1 || s.Flips > 1<<10:
		return fmt.Errorf("search: a schedule of %d flips, want 1 to %d", s.Flips, 1<<10)
	case s.Initial.Keep < 1 || s.Initial.Keep > 1<<16 || s.Initial.Windows < 1:
		return fmt.Errorf("search: an initial stage of %d candidates on %d windows, want at least 1 of both", s.Initial.Keep, s.Initial.Windows)
	case s.Generations < 0:
		return fmt.Errorf("search: a schedule of %d generations", s.Generations)
	case s.windows() > maxText:
		return fmt.Errorf("search: a schedule of %d windows, want at most %d", s.windows(), maxText)
	case len(s.Merge) > 64:
		return fmt.Errorf("search: a schedule of %d merges, want at most 64", len(s.Merge))
	}
	for _, k := range s.Merge {
		if k < 2 || k > s.Offspring {
			return fmt.Errorf("search: a schedule merges the %d best of %d", k, s.Offspring)
		}
	}
	entering := s.Offspring
	for i, st := range s.Stages {
		if st.Keep < 1 || st.Keep > entering {
			return fmt.Errorf("search: stage %d keeps %d of %d candidates", i+1, st.Keep, entering)
		}
		if st.Windows < 1 {
			return fmt.Errorf("search: stage %d is scored on %d windows", i+1, st.Windows)
		}
		entering = st.Keep
		if i == 0 {
			entering += len(s.Merge)
		}
	}
	return nil
}

// windows is the most windows that any stage takes.
func (s Schedule) windows() int {
	n := s.Initial.Windows
	for _, st := range s.Stages {
		n = max(n, st.Windows)
	}
	return n
}

// cost is the most window evaluations that a generation takes.
func (s Schedule) cost() int64 {
	var n int64
	entering := s.Offspring
	for i, st := range s.Stages {
		if i == len(s.Stages)-1 {
			entering++ // the parent
		}
		if i == 1 {
			entering += len(s.Merge)
		}
		n += int64(entering) * int64(st.Windows)
		entering = st.Keep
	}
	return n
}

// clamp keeps every stage to the windows that exist.
func (s Schedule) clamp(windows int) Schedule {
	s.Merge = slices.Clone(s.Merge)
	s.Initial.Windows = min(s.Initial.Windows, windows)
	stages := make([]Stage, len(s.Stages))
	for i, st := range s.Stages {
		stages[i] = Stage{Keep: st.Keep, Windows: min(st.Windows, windows)}
	}
	s.Stages = stages
	return s
}

// Published is the schedule of EvoPress for a kind of space, with its token counts rounded up to
// whole windows of seqLen tokens: 26 to 184 million tokens, meant for accelerators.
// Units is the number of sub-blocks of a type and drop how many of them go; both matter to drop only.
func Published(kind string, seqLen, units, drop int) (Schedule, error) {
	if seqLen < 1 {
		return Schedule{}, fmt.Errorf("search: windows of %d tokens", seqLen)
	}
	w := func(tokens int) int { return (tokens + seqLen - 1) / seqLen }
	switch kind {
	case Drop:
		return Schedule{Initial: Stage{64, w(2048)}, Offspring: 32, Flips: 3,
			Stages: []Stage{{2, w(2048)}, {1, w(32768)}}, Generations: max(1, int(float64(drop*(units-drop))/1.5))}, nil
	case Sparsity:
		return Schedule{Initial: Stage{64, w(2048)}, Offspring: 64, Flips: 3,
			Stages: []Stage{{8, w(2048)}, {2, w(16384)}, {1, w(65536)}}, Generations: 400}, nil
	case Quant:
		return Schedule{Initial: Stage{64, w(2048)}, Offspring: 128, Flips: 3,
			Stages: []Stage{{16, w(2048)}, {4, w(16384)}, {1, w(131072)}}, Generations: 150}, nil
	}
	return Schedule{}, fmt.Errorf("search: no published schedule for space %q", kind)
}

// scaled are schedules by the window evaluations of a budget, the smallest first. They were tuned on
// additive models of quantization, sparsity and drop with the noise of 512-token windows: with little
// to spend, many cheap generations beat few careful ones, since the comparison of a stage is paired.
var scaled = []struct {
	below    int64 // window evaluations
	schedule Schedule
}{
	{120, Schedule{Initial: Stage{4, 1}, Offspring: 8, Merge: []int{3}, Stages: []Stage{{1, 1}, {1, 2}}}},
	{600, Schedule{Initial: Stage{8, 1}, Offspring: 16, Merge: []int{3, 6}, Stages: []Stage{{2, 1}, {1, 2}}}},
	{2_000, Schedule{Initial: Stage{12, 1}, Offspring: 24, Merge: []int{4, 8}, Stages: []Stage{{2, 1}, {1, 2}}}},
	{10_000, Schedule{Initial: Stage{16, 1}, Offspring: 32, Merge: []int{4, 8}, Stages: []Stage{{2, 1}, {1, 4}}}},
	{100_000, Schedule{Initial: Stage{32, 2}, Offspring: 64, Merge: []int{8, 16}, Stages: []Stage{{4, 1}, {1, 16}}}},
	{1 << 62, Schedule{Initial: Stage{64, 4}, Offspring: 64, Merge: []int{8, 16}, Stages: []Stage{{8, 2}, {2, 16}, {1, 64}}}},
}

// ScheduleFor scales the search to a budget of tokens, with windows of seqLen tokens, of which there
// are as many as windows says. In a drop space, where single changes matter most, twice the text goes
// into the first and the last stage. A budget below one generation is an error.
func ScheduleFor(kind string, budget int64, seqLen, windows int) (Schedule, error) {
	if seqLen < 1 || windows < 1 {
		return Schedule{}, fmt.Errorf("search: %d windows of %d tokens to score candidates on, want at least 1 of both", windows, seqLen)
	}
	var s Schedule
	for _, sc := range scaled {
		if s = sc.schedule; budget/int64(seqLen) < sc.below {
			break
		}
	}
	s.Flips = 3
	s.Exchange = kind != Drop
	s = s.clamp(windows)
	if last := len(s.Stages) - 1; kind == Drop {
		s.Initial.Keep *= 2
		s.Stages[last].Windows = min(2*s.Stages[last].Windows, windows)
	}
	if err := s.afford(budget, seqLen); err != nil {
		return Schedule{}, err
	}
	return s, nil
}

// afford returns an error where a budget does not do for the first generation.
func (s Schedule) afford(budget int64, seqLen int) error {
	if need := (s.Initial.cost() + s.cost()) * int64(seqLen); budget < need {
		return fmt.Errorf("search: a budget of %d tokens is too small: the first generation on windows of %d takes %d", budget, seqLen, need)
	}
	return nil
}

// cost is the window evaluations of an initial stage.
func (s Stage) cost() int64 { return int64(s.Keep) * int64(s.Windows) }
