package evalworker

import (
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Check reports what is wrong with a job on its model and text before there is a run folder: what
// Prepare would find, except in weights and banks.
func Check(job workflows.Job) error {
	ck, err := engine.Open(job.Model)
	if err != nil {
		return mark(ErrJob, err)
	}
	defer ck.Close()
	split, _, _, err := splitJob(ck, job)
	if err != nil {
		return err
	}
	space, err := SpaceOf(ck, job)
	if err != nil {
		return err
	}
	r := &run{job: job, space: space, prepared: prepared{SeqLen: job.SeqLen, Search: split.Search.Numbers}}
	_, err = search.New(job.Method, r.searchJob())
	return mark(ErrJob, err)
}
