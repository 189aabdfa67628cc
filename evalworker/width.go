package evalworker

import (
	"fmt"
	"maps"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/prune"
)

// mlpModules are the modules of an MLP.
var mlpModules = []string{"gate_proj", "up_proj", "down_proj"}

// parseWide reads a width, and the level that is joined to it.
func parseWide(name string) (Level, error) {
	width, rest, joined := strings.Cut(name, "+")
	w, err := prune.ParseWidth(width)
	if err != nil || !joined {
		return Level{Name: name, width: w, wide: true}, err
	}
	l, err := ParseLevel(rest)
	if err == nil && (l.spec == nil || l.wide) {
		err = fmt.Errorf("level %q: a width can have a way to store weights joined to it, not %s", name, rest)
	}
	return Level{Name: width + "+" + l.Name, spec: l.spec, width: w, wide: true}, err
}

// Shape is that of a module at the level whose dense weights are rows x cols.
func (l Level) Shape(unit string, rows, cols int) (int, int) {
	switch n := l.width.Channels(); {
	case !l.wide:
	case strings.HasSuffix(unit, ".gate_proj") || strings.HasSuffix(unit, ".up_proj"):
		return n, cols
	case strings.HasSuffix(unit, ".down_proj"):
		return rows, n
	}
	return rows, cols
}

// expand gives the modules of MLPs that have a width their levels: width-1024, or width-1024+q8_0 where the module has a level
// of its own.
func expand(levels map[string]string) map[string]string {
	out, own := levels, false
	for unit, level := range levels {
		if !isMLP(unit) || !strings.HasPrefix(level, prune.MethodWidth+"-") {
			continue
		}
		if !own {
			out, own = maps.Clone(levels), true
		}
		delete(out, unit)
		for _, role := range mlpModules {
			switch joined := levels[unit+"."+role]; joined {
			case LevelDrop:
			case "", LevelDense:
				out[unit+"."+role] = level
			default:
				out[unit+"."+role] = level + "+" + joined
			}
		}
	}
	return out
}

// errCalibratedWide refuses a level whose method looks at the inputs of all channels.
func errCalibratedWide(name string) error {
	return fmt.Errorf("level %s: what is calibrated is so for an MLP of all channels: a width goes with levels that need no calibration", name)
}

// dense are the weights of the checkpoint that a level of a module is made of: of an MLP with a width, those of its most important channels.
func (s *slot) dense(unit string, l Level) (engine.Weights, error) {
	ck := s.checkpoint.Checkpoint
	if !l.wide {
		return engine.Dense(ck, unit)
	}
	importance, err := s.channels(parent(unit))
	if err != nil {
		return nil, err
	}
	n := l.width.Channels()
	if n > len(importance) {
		return nil, mark(ErrCandidate, fmt.Errorf("evalworker: %s has %d channels, not as many as %s keeps", parent(unit), len(importance), l.Name))
	}
	var keep []int // all
	if n < len(importance) {
		keep = l.width.Keep(importance)
	}
	if strings.HasSuffix(unit, ".down_proj") {
		return engine.NewSlice(ck, unit, nil, keep)
	}
	return engine.NewSlice(ck, unit, keep, nil)
}

// channels is the importance of the channels of an MLP, found once.
func (s *slot) channels(mlp string) ([]float64, error) {
	if x, ok := s.importance[mlp]; ok {
		return x, nil
	}
	gate, err := engine.Dense(s.checkpoint.Checkpoint, mlp+".gate_proj")
	if err != nil {
		return nil, err
	}
	up, err := engine.Dense(s.checkpoint.Checkpoint, mlp+".up_proj")
	if err != nil {
		return nil, err
	}
	x, err := prune.Importance(gate, up)
	if err != nil {
		return nil, fmt.Errorf("evalworker: %s: %w", mlp, err)
	}
	s.importance[mlp] = x
	return x, nil
}
