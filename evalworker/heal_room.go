package evalworker

import (
	"fmt"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// searchTarget is what a search keeps to, so that its answers keep to the job's target when they are healed: quantized levels take no change in, and
// what healing puts beside them counts.
func searchTarget(c engine.Config, s *search.Space, job workflows.Job) (search.Target, error) {
	target, err := search.ParseTarget(job.Target)
	if err != nil || job.Heal == "" || job.Space != workflows.SpaceQuant || target.Kind != search.TargetBits && target.Kind != search.TargetSize {
		return target, err
	}
	o, err := trainerOptions(job.Healing("", ""), job.ModelDigest, c.Parameters())
	if err != nil {
		return target, err
	}
	var shapes [][2]int
	for _, m := range c.Modules() {
		shapes = append(shapes, [2]int{m.Rows, m.Cols})
	}
	beside, err := o.Bytes(shapes)
	if err != nil {
		return target, err
	}
	asked := target
	if target.Kind == search.TargetBits {
		target.Value -= 8 * float64(beside) / float64(s.Params())
	} else {
		target.Value -= float64(beside)
	}
	if target.Value <= 0 {
		return target, fmt.Errorf("--target %s: the delta of --heal-method %s alone takes %d bytes; --heal-density or --heal-rank make it smaller", asked, o.Method, beside)
	}
	return target, nil
}
