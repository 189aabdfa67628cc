// Package evalworker does the work of a run: it prepares the run folder, builds the levels that the
// bank lacks, scores candidates, advances the search and reports the front. Everything is a plain
// function of the run folder; the activities of a Temporal worker are thin wrappers of them.
//
//	err := evalworker.RunLocal(ctx, folder, evalworker.Options{Slots: 2})  // without Temporal
//
//	w, err := evalworker.New(client, evalworker.Options{Slots: 2})         // with it
//	err = w.Start()
//	defer w.Stop()
//
// # The run folder
//
//	job.yaml           the job; the caller writes it
//	prepared.json      digests of model and text, which windows serve for what
//	space.json         units and their levels
//	tokens/            the windows of calibration, search and held-out text, 32-bit little-endian
//	log/000000.json …  a file a step: what the optimiser asked and its state after that
//	scores/            a file an evaluation, named by the digest of all that it depends on
//	final.json         the ask of the final scoring on held-out text
//	heal/ID/           the training folder of a point, and healed.json
//	evaluations.jsonl, front.json, configs/   derived by Report
//
// A file is whole or absent, and no file of the log is ever written over with other bytes. So an
// activity may be done again, by another worker or after a crash at any moment, and the folder comes
// out the same: a run resumes from its folder alone. What a run does depends on its job and on the
// model and the text alone, not on the number of workers, on batches, on the order in which they
// finish, or on interruptions.
//
// # The training folder
//
//	finetune.yaml      the job; the caller writes it
//	prepared.json      digests of model, levels and examples, and what the model scored before
//	checkpoint         the trainer's state, replaced as it goes on
//	delta.safetensors, result.json, peft/   written by FinishFinetune
//
// Scores hold when, where and how fast they were taken. Nothing that is derived for the report reads that.
//
// The caller sees to it that the folder, the model, the text and the bank are at the same paths for
// every worker, and that one program at a time advances a run.
package evalworker
