package evalworker

import (
	"fmt"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// searchTarget is what a search keeps to, so that its answers keep to the job's target when healing puts so many bytes beside them.
func searchTarget(s *search.Space, job workflows.Job, beside int64) (search.Target, error) {
	target, err := search.ParseTarget(job.Target)
	if err != nil || beside == 0 {
		return target, err
	}
	asked := target
	switch target.Kind {
	case search.TargetBits:
		target.Value -= 8 * float64(beside) / float64(s.Params())
	case search.TargetSize:
		target.Value -= float64(beside)
	}
	if target.Value <= 0 {
		return target, fmt.Errorf("--target %s: what healing puts beside the levels alone takes %d bytes; --heal-density or --heal-rank make it smaller", asked, beside)
	}
	return target, nil
}

// besideBytes is what healing puts beside the levels of any candidate of a job: quantized ones take no change in. For a GGUF file it is the size
// of the adapter's file.
func besideBytes(ck *engine.Checkpoint, job workflows.Job) (int64, error) {
	if job.Heal == "" || job.Space != workflows.SpaceQuant {
		return 0, nil
	}
	c := ck.Config()
	o, err := trainerOptions(job.Healing("", ""), job.ModelDigest, c.Parameters())
	if err != nil {
		return 0, err
	}
	var shapes [][2]int
	perRank, largest := int64(0), 0
	for _, m := range c.Modules() {
		shapes = append(shapes, [2]int{m.Rows, m.Cols})
		perRank += 4 * int64(m.Rows+m.Cols)
		largest = max(largest, m.Rows, m.Cols)
	}
	n, err := o.Bytes(shapes)
	if err != nil || o.Method != sparseft.LoRA || job.Deployable != workflows.DeployableGGUF {
		return n, err
	}
	rank := int(n / perRank)
	numbers := make([]float32, rank*largest) // only how many there are matters
	var factors []engine.Factors
	for _, m := range c.Modules() {
		factors = append(factors, engine.Factors{Module: m.Name, Rows: m.Rows, Cols: m.Cols, Rank: rank, Scale: o.Alpha / float64(rank),
			A: numbers[:rank*m.Cols], B: numbers[:m.Rows*rank]})
	}
	return export.GGUFAdapterBytes(ck, nil, factors, export.GGUFOptions{})
}
