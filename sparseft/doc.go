// Package sparseft fine-tunes some tensors of a model: by few weights of each (SpIEL, static supports), by products of low
// rank (LoRA), by both (DSEE), or by all weights. A compressed model stays compressed: the support can be restricted to a
// mask, so that pruned weights stay zero, and what is added has a size in bytes.
//
//	t, err := sparseft.New(targets, options)
//	for !t.Done() {
//		step, microbatch := t.Cursor()
//		… run microbatch step·G+microbatch forward and backward; for every target:
//		err = t.Add(tensor, gradient)
//		err = t.EndMicrobatch(loss, tokens)
//		if t.Due() {
//			patches, err := t.Step()
//			t.Apply(patches, copies)
//		}
//	}
//	err = t.Delta().Write(file)
//
// A [Trainer] is a state machine: no IO, no clock, no gradient of its own, and all of its randomness from hashes of the seed.
// Save and Restore between any two microbatches continue with the same bits, and so does any number of threads.
//
// The caller's duties:
//
//  1. The gradients it adds are those of the loss at the weights that [Trainer.Weights] gives: it keeps a working copy and
//     applies every step's patches to it. Sparse methods change few weights a step.
//  2. Every target gets one gradient a microbatch, before EndMicrobatch.
//  3. Microbatch n of a training has the same data whenever it is asked for.
//  4. Of an error that is an [ErrDiverged] it keeps the last checkpoint: the state has not moved since the last good step, but
//     no step can follow.
package sparseft
