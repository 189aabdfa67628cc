// Package search finds, for a language model, the best choice of one compression level for every
// unit of it, at one size or at all sizes.
//
//	space, err := search.ParseSpace(data)            // units, levels, bytes: see [Space]
//	target, err := search.ParseTarget("bpw=3")
//	opt, err := search.New("evopress", search.Job{Space: space, Target: target, Seed: 1,
//		Budget: 500_000, SeqLen: 512, Windows: 80})
//	for trials := opt.Ask(500_000); trials != nil; trials = opt.Ask(500_000) {
//		err = opt.Tell(score(trials))             // KL of each candidate on its windows
//	}
//	best := opt.Progress().Incumbents[0]
//
// An [Optimizer] asks and is told; the caller scores. The package is pure: no IO, no clock, no
// goroutine, every random number from a PCG that is part of the state. What a search asks is a
// function of its [Job] and of the scores, whatever the order in which they arrive.
//
// The caller's duties:
//
//  1. Score all trials of a stage on the windows they name, against the same dense model, with the
//     same numerics. A trial that cannot be scored is told as Failed.
//  2. Keep [Optimizer.State] with the results still to be told, and [Restore] it on the same space.
//  3. Put every stage into an [Archive], in order, for the front.
//  4. Measure what the search found again, on held-out text, beside the baselines of the same size
//     ([Space.Uniform], [Space.UniformLevels], [Space.RandomCandidates]): the score that made a
//     candidate win is biased in its favour.
//
// The search is EvoPress: Sieberling, Kuznedelev, Kurtic and Alistarh, "EvoPress: Accurate Dynamic
// Model Compression via Evolutionary Search", 2024, arXiv:2410.14649. [Published] has its schedules;
// [ScheduleFor] scales them down to what a processor does in minutes, and adds to the published
// mutation a trade between groups and to the published selection a merge of the best children.
// Populations, clones, crossover and elitist selection are eaopt's.
package search
