// Package workflows holds the Temporal workflows that compress a model and the payload types of
// their activities.
//
//	run, err := workflows.Start(ctx, client, workflows.RunInput{Folder: folder, ID: id, Budget: job.Budget})
//	err = run.Get(ctx, &result)
//
// [Compress] is the whole of a run. It prepares the folder, has [BuildBank] build the levels that the
// bank lacks, has [Search] search, scores the finalists on held-out text, heals points where that is asked for, and reports. All are
// thin coordinators: candidates, scores and random state live in the run folder, where the activities
// of package evalworker keep them; a history holds steps, counters and a front of at most 20 rows.
// What comes out depends on the folder alone, never on the number of workers, on the order in which
// they finish, on retries, pauses or crashes.
//
// [Finetune] is a whole training, alone or as a child of a run that heals points of its front. It has the steps between two stops made by
// one activity after the other, each of which goes on from the checkpoint in the training folder.
//
// Duties of the caller: one worker made by [NewWorker] at least, activities registered under the names
// of this package on [EvalQueue], and a folder path that means the same on every worker.
//
// Code here is replayed from history. It reads no clock but [workflow.Now], draws nothing at random,
// ranges over no map; recorded histories in testdata are replayed by the tests, and the checker
// workflowcheck runs over the package.
package workflows
