package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// batches has the candidates of asks scored on the evaluation queue, one ask at a time.
type batches struct {
	folder          string
	tuning          Tuning
	paused, stopped func() bool // what the user wants
	done, total     int         // batches of the current ask: scored, all
}

// run has every batch of an ask scored. It returns complete false if the user stopped the run first.
//
// A pause or a stop takes hold at once: batches in flight are cancelled, which costs at most the
// candidate that each is at, because scores are stored one by one; after a pause the batches that
// were not done are sent again.
func (b *batches) run(ctx workflow.Context, ask, label string, ranges [][2]int) (sum EvaluateResult, complete bool, err error) {
	b.done, b.total = 0, len(ranges)
	todo := make([]int, len(ranges))
	for i := range todo {
		todo[i] = i
	}
	for len(todo) > 0 {
		if err := b.waitResumed(ctx); err != nil || b.stopped() {
			return sum, false, err
		}
		todo, err = b.round(ctx, ask, label, ranges, todo, &sum)
		if err != nil {
			return sum, false, err
		}
	}
	return sum, true, nil
}

// waitResumed blocks while the run is paused and not stopped.
func (b *batches) waitResumed(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return !b.paused() || b.stopped() })
}

// round sends the batches todo, waits until all are scored, one fails for good, or the user interrupts,
// and returns those that are to be sent again.
func (b *batches) round(ctx workflow.Context, ask, label string, ranges [][2]int, todo []int, sum *EvaluateResult) (again []int, err error) {
	flight, cancel := workflow.WithCancel(ctx)
	defer cancel()
	left := len(todo)
	for _, i := range todo {
		workflow.Go(flight, func(ctx workflow.Context) {
			summary := fmt.Sprintf("%s batch %d/%d", label, i+1, len(ranges))
			res, e := b.evaluate(ctx, ask, summary, ranges[i][0], ranges[i][1])
			switch {
			case e == nil:
				b.done++
				sum.add(res)
			case temporal.IsCanceledError(e) || ctx.Err() != nil: // interrupted, whatever it died of
				again = append(again, i)
			case err == nil:
				err = e
			}
			left--
		})
	}
	// The error of a cancelled ctx is taken up below, when the batches in flight have ended.
	_ = workflow.Await(ctx, func() bool { return left == 0 || err != nil || b.paused() || b.stopped() })
	cancel()
	patient, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	if e := workflow.Await(patient, func() bool { return left == 0 }); e != nil {
		return nil, e
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return again, err
}

// evaluate scores the candidates [from,to) of an ask. If they keep taking their workers down it halves
// the batch, and at last has the one to blame recorded as failed, so that one candidate cannot end a run.
func (b *batches) evaluate(ctx workflow.Context, ask, summary string, from, to int) (EvaluateResult, error) {
	in := EvaluateInput{Folder: b.folder, Ask: ask, From: from, To: to}
	attempts := b.tuning.withDefaults().Attempts
	if to-from == 1 {
		attempts *= 2 // workers may have been killed for reasons of their own
	}
	out, err := attempt[EvaluateResult](ctx, b.tuning, ActivityEvaluate, summary, attempts, in)
	switch {
	case err == nil || ctx.Err() != nil || temporal.IsCanceledError(err) || !blamesCandidates(err):
		return out, err
	case to-from == 1:
		workflow.GetLogger(ctx).Warn("candidate recorded as failed", "ask", ask, "candidate", from, "error", err)
		in.MarkFailed = true
		return do[EvaluateResult](ctx, b.tuning, ActivityEvaluate, summary+" (mark failed)", in)
	}
	workflow.GetLogger(ctx).Warn("batch halved", "ask", ask, "from", from, "to", to, "error", err)
	mid := from + (to-from)/2
	out, err = b.evaluate(ctx, ask, summary, from, mid)
	if err != nil {
		return out, err
	}
	rest, err := b.evaluate(ctx, ask, summary, mid, to)
	out.add(rest)
	return out, err
}

// add adds the counters of o.
func (r *EvaluateResult) add(o EvaluateResult) {
	r.Scored += o.Scored
	r.Reused += o.Reused
	r.Failed += o.Failed
	r.Tokens += o.Tokens
	r.Seconds += o.Seconds
}
