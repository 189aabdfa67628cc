package evalworker

import (
	"context"
	"fmt"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Check reports what is wrong with a job on its model and text before there is a run folder: what
// Prepare would find, except in weights and banks. A model of h, the Hugging Face hub, is fetched if need be.
func Check(ctx context.Context, job workflows.Job, h *hub.Client) error {
	path, err := locate(ctx, job.Model, h, nil)
	if err != nil {
		return err
	}
	ck, err := engine.Open(path)
	if err != nil {
		return mark(ErrJob, err)
	}
	defer ck.Close()
	if job.Heal != "" {
		if err := ValidateFinetune(job.Healing("", "")); err != nil {
			return mark(ErrJob, fmt.Errorf("evalworker: --heal: %w", err))
		}
	}
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

// ValidateFinetune reports what is wrong with a training's job, whose defaults are set, before any file is looked at.
func ValidateFinetune(job workflows.FinetuneJob) error {
	if err := job.Validate(); err != nil {
		return err
	}
	_, err := trainerOptions(job, "", 1)
	return err
}

// CheckFinetune reports what is wrong with a training's job on its model, levels and text before there is a folder: what PrepareFinetune would find.
// A model of h, the Hugging Face hub, is fetched if need be.
func CheckFinetune(ctx context.Context, job workflows.FinetuneJob, h *hub.Client) error {
	_, err := PlanFinetune(ctx, job, h)
	return err
}
