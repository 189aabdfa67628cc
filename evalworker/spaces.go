package evalworker

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/prune"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// evoPressLevels is how many steps go up and down from the target's sparsity where a step is a number of
// weights: EvoPress, arXiv 2410.14649.
const evoPressLevels = 8

// SpaceOf makes the space that a job searches on a model.
func SpaceOf(ck *engine.Checkpoint, job workflows.Job) (*search.Space, error) {
	s, _, err := spaceOf(ck, job)
	return s, err
}

// spaceOf makes the space that a job searches on a model, and the target of the search: see [searchTarget].
func spaceOf(ck *engine.Checkpoint, job workflows.Job) (s *search.Space, target search.Target, err error) {
	var sizes fileSizes
	switch job.Deployable {
	case workflows.DeployableGGUF:
		n, err := export.GGUFBytes(ck, nil, export.GGUFOptions{})
		if err != nil {
			return nil, target, mark(ErrJob, err)
		}
		sizes.gguf = &n
	case workflows.DeployableVLLM, workflows.DeployableTransformers:
		n, err := export.HFBytes(ck, export.HFOptions{Runtime: job.Deployable})
		if err != nil {
			return nil, target, mark(ErrJob, err)
		}
		sizes.hf = &n
	}
	if sizes.beside, err = besideBytes(ck, job); err != nil {
		return nil, target, mark(ErrJob, err)
	}
	if s, err = buildSpace(ck.Config(), job, sizes); err != nil {
		return nil, target, err
	}
	target, err = searchTarget(s, job, sizes.beside)
	return s, target, mark(ErrJob, err)
}

// fileSizes are what a file of a model takes, where a job is for one, and what healing puts beside it.
type fileSizes struct {
	gguf   *export.GGUFSizes
	hf     *export.HFSizes
	beside int64
}

// buildSpace makes the space that a job searches on a model of the given shape.
func buildSpace(c engine.Config, job workflows.Job, sizes fileSizes) (*search.Space, error) {
	target, err := search.ParseTarget(job.Target)
	if err != nil {
		return nil, mark(ErrJob, err)
	}
	s := &search.Space{Kind: job.Space, FixedBytes: denseBytes * fixedParams(c)}
	switch job.Space {
	case workflows.SpaceSparsity:
		if job.SparsityPattern != "" {
			err = patternUnits(s, c, job)
		} else {
			err = sparsityUnits(s, c, job, target)
		}
	case workflows.SpaceQuant:
		switch {
		case sizes.gguf != nil:
			err = ggufUnits(s, c, job, sizes.gguf)
		case sizes.hf != nil:
			err = hfUnits(s, c, job, sizes.hf)
		default:
			err = quantUnits(s, c, job)
		}
	case workflows.SpaceDrop:
		dropUnits(s, c)
	default:
		err = fmt.Errorf("evalworker: unknown space %q", job.Space)
	}
	if err != nil {
		return nil, mark(ErrJob, err)
	}
	groupUnits(s)
	if err := s.Validate(); err != nil {
		return nil, mark(ErrJob, err)
	}
	if job.Target != "" {
		if target, err = searchTarget(s, job, sizes.beside); err != nil {
			return nil, mark(ErrJob, err)
		}
		if err := s.Reach(target); err != nil {
			return nil, mark(ErrJob, fmt.Errorf("--target: %w", err))
		}
	}
	return s, nil
}

// fixedParams is the number of weights outside the linear modules: embeddings, norms, biases, head.
func fixedParams(c engine.Config) int64 {
	n := c.Parameters()
	for _, m := range c.Modules() {
		n -= int64(m.Rows) * int64(m.Cols)
	}
	return n
}

// sparsityUnits adds the linear modules with their sparsities: see [sparsities] and [evoPressSparsities].
// Without a target they are dense and sixteenths of the module.
func sparsityUnits(s *search.Space, c engine.Config, job workflows.Job, target search.Target) error {
	mean, targeted, err := meanSparsity(s, c, target)
	if err != nil {
		return err
	}
	for _, m := range c.Modules() {
		n := int64(m.Rows) * int64(m.Cols)
		u := search.Unit{Name: m.Name, Params: n}
		var zeros []int64
		switch {
		case !targeted:
			u.Levels = append(u.Levels, search.Level{Name: LevelDense, Bytes: denseBytes * n})
			for k := int64(2); k <= 14; k++ { // a mask costs a sixteenth, so less is no gain
				zeros = append(zeros, k*n/16)
			}
		case job.SparsityStep < 1:
			zeros = sparsities(n, mean, job.SparsityStep)
		default:
			u.Group = "modules" // a level is the same number of weights in all of them
			zeros = evoPressSparsities(n, mean, int64(job.SparsityStep))
		}
		for _, z := range zeros {
			l, err := sparsityLevel(job.SparsityMethod, z, n)
			if err != nil {
				return err
			}
			u.Levels = append(u.Levels, search.Level{Name: l.Name, Bytes: l.Bytes(m.Rows, m.Cols), Cost: z})
		}
		s.Units = append(s.Units, u)
	}
	if targeted && (mean == 0 || mean == 1) {
		return fmt.Errorf("evalworker: --target %s leaves nothing to choose: every module would have sparsity %g", target, mean)
	}
	return nil
}

// patternUnits adds the linear modules, dense or with the job's pattern where their rows admit it.
func patternUnits(s *search.Space, c engine.Config, job workflows.Job) error {
	l, err := ParseLevel(job.SparsityMethod + "-" + job.SparsityPattern)
	if err != nil {
		return fmt.Errorf("evalworker: --sparsity-pattern: %w", err)
	}
	spec, ok := l.spec.(prune.Spec)
	if _, _, pattern := spec.Pattern(); !ok || !pattern {
		return fmt.Errorf("evalworker: --sparsity-pattern: %q is no pattern such as 2:4", job.SparsityPattern)
	}
	fits := false
	for _, m := range c.Modules() {
		n := int64(m.Rows) * int64(m.Cols)
		u := search.Unit{Name: m.Name, Params: n, Levels: []search.Level{{Name: LevelDense, Bytes: denseBytes * n}}}
		if l.Fits(m.Rows, m.Cols) == nil {
			u.Levels = append(u.Levels, search.Level{Name: l.Name, Bytes: l.Bytes(m.Rows, m.Cols), Cost: int64(spec.Zeros(int(n)))})
			fits = true
		}
		s.Units = append(s.Units, u)
	}
	if !fits {
		return fmt.Errorf("evalworker: --sparsity-pattern: %s fits no module of the model", job.SparsityPattern)
	}
	return nil
}

// sparsities are the numbers of zeros of a module's n weights whose distance from mean is a multiple of
// a share of the module. A switch of levels keeps the number of zeros between modules of one size; the
// search trades exactly between sizes. On a budget of a CPU these wide steps find more than EvoPress's,
// which are the finer the larger the module.
func sparsities(n int64, mean, share float64) (zeros []int64) {
	step := max(1, int64(share*float64(n)))
	middle := int64(math.Round(mean * float64(n)))
	for z := middle % step; z <= n; z += step {
		if z > 0 && z < n || z == middle { // all of a module is the business of space drop
			zeros = append(zeros, z)
		}
	}
	return zeros
}

// evoPressSparsities are the sparsities s + l·Δ/n for l from -8 to 8 as far as that is a sparsity: a
// level is Δ weights in every module whatever its size, so that a level up here for a level down there
// keeps the number of zeros.
func evoPressSparsities(n int64, mean float64, delta int64) (zeros []int64) {
	middle := int64(math.Round(mean * float64(n)))
	for l := int64(-evoPressLevels); l <= evoPressLevels; l++ {
		if z := middle + l*delta; z >= 0 && z <= n {
			zeros = append(zeros, z)
		}
	}
	return zeros
}

// meanSparsity is the sparsity around which a target has its levels.
func meanSparsity(s *search.Space, c engine.Config, target search.Target) (mean float64, targeted bool, err error) {
	switch target.Kind {
	case "":
		return 0, false, nil
	case search.TargetSparsity:
		return target.Value, true, nil
	}
	var params, most, least int64 // stored bytes at sparsity 0 and 1
	none, err := ParseLevel("magnitude-0")
	if err != nil {
		return 0, false, err
	}
	all, err := ParseLevel("magnitude-1")
	if err != nil {
		return 0, false, err
	}
	for _, m := range c.Modules() {
		params += int64(m.Rows) * int64(m.Cols)
		most += none.Bytes(m.Rows, m.Cols)
		least += all.Bytes(m.Rows, m.Cols)
	}
	aim := target.Value - float64(s.FixedBytes)
	if target.Kind == search.TargetBits {
		aim = target.Value * float64(params) / 8
	}
	mean = (float64(most) - aim) / float64(most-least)
	if mean < 0 || mean > 1 {
		return 0, false, fmt.Errorf("evalworker: --target %s: %w: a sparsity space of this model has %d to %d bytes in all",
			target, search.ErrUnreachable, least+s.FixedBytes, most+s.FixedBytes)
	}
	// Rounded up, so that the uniform candidate is within the target.
	return math.Ceil(mean*1e6) / 1e6, true, nil
}

// sparsityLevel is the level of the method that sets z of n weights to zero, or as near to z as the
// six decimals of a level's name allow, which is exact up to a million weights. The name has as few
// decimals as that takes.
func sparsityLevel(method string, z, n int64) (Level, error) {
	for unit := 10_000; ; unit /= 10 { // millionths
		share := math.Round(float64(z)/float64(n)*1e6/float64(unit)) * float64(unit)
		spec, err := prune.New(prune.Method(method), int(share))
		if err != nil {
			return Level{}, err
		}
		if int64(spec.Zeros(int(n))) == z || unit == 1 {
			return Level{Name: spec.String(), spec: spec}, nil
		}
	}
}

// quantUnits adds the linear modules with their bit widths.
func quantUnits(s *search.Space, c engine.Config, job workflows.Job) error {
	bits := slices.Clone(job.Bits)
	slices.Sort(bits)
	slices.Reverse(bits)
	for _, m := range c.Modules() {
		u := search.Unit{Name: m.Name, Params: int64(m.Rows) * int64(m.Cols)}
		for _, b := range bits {
			l, err := ParseLevel(fmt.Sprintf("%s-%db-g%d", job.QuantMethod, b, job.Group))
			if err != nil {
				return err
			}
			u.Levels = append(u.Levels, search.Level{Name: l.Name, Bytes: l.Bytes(m.Rows, m.Cols)})
		}
		s.Units = append(s.Units, u)
	}
	return nil
}

// dropUnits adds the attention and MLP sub-blocks, kept or dropped.
func dropUnits(s *search.Space, c engine.Config) {
	params := map[string]int64{}
	for _, m := range c.Modules() {
		sub := attention(m.Block)
		switch m.Role {
		case "gate_proj", "up_proj", "down_proj":
			sub = mlp(m.Block)
		}
		params[sub] += int64(m.Rows) * int64(m.Cols)
	}
	for _, name := range SubBlocks(c) {
		group := "attn"
		if strings.HasSuffix(name, ".mlp") {
			group = "mlp"
		}
		s.Units = append(s.Units, search.Unit{
			Name: name, Group: group, Params: params[name],
			Levels: []search.Level{{Name: LevelDense, Bytes: denseBytes * params[name]}, {Name: LevelDrop, Cost: 1}},
		})
	}
}

// groupUnits puts units that have no group yet into one with those whose levels have the same bytes and
// costs, so that a switch within a group conserves both. A group is named by its number of weights.
func groupUnits(s *search.Space) {
	like := map[int64][]int{} // first unit of each group, by weights
	for i := range s.Units {
		u := &s.Units[i]
		if u.Group != "" {
			continue
		}
		key := u.Params
		at := slices.IndexFunc(like[key], func(j int) bool {
			return slices.EqualFunc(u.Levels, s.Units[j].Levels, func(a, b search.Level) bool { return a.Bytes == b.Bytes && a.Cost == b.Cost })
		})
		if at >= 0 {
			u.Group = s.Units[like[key][at]].Group
			continue
		}
		u.Group = strconv.FormatInt(u.Params, 10)
		if n := len(like[key]); n > 0 {
			u.Group += "." + strconv.Itoa(n)
		}
		like[key] = append(like[key], i)
	}
}
