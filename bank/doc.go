// Package bank is the on-disk store of the levels of a model's units: packed bits, written once and
// mapped read-only by every process that evaluates them.
//
//	b, err := bank.Create(dir, bank.Header{Model: digest, Calibration: digest, Operators: …})
//	if !b.Has(unit, "gptq-3b-g64") {
//		err = b.Put(unit, []bank.Entry{{Level: "gptq-3b-g64", Weights: packed, Aliases: []int{3}}})
//	}
//	w, err := b.Weights(unit, "gptq-3b-g64")       // valid until b.Close
//
// # On disk
//
//	manifest.json                  what the bank was built from; written when it is created
//	units/<unit>.safetensors       a shard: all levels of a unit, tensors named <level>/<part>
//	.lock                          held while a shard is replaced
//
// A level is known by the bank's header (model, calibration, versions of the operators), its unit and
// its name; what exists under these is never built or written again. Nothing but the shards says what
// there is, so that processes that build different units share nothing but the lock. A shard carries a
// digest of its own header and, in the header, one of each level. The first is checked when the shard
// is opened, the others when a level is first used.
//
// # Crashes and damage
//
// Files are written under temporary names, synced and renamed: at any instant the bank is valid, and
// what a crash leaves behind is removed when the bank is next opened. A level whose bytes changed
// counts as absent for [Bank.Has]; [Bank.Weights] and [Bank.Verify] return [ErrCorrupt], and
// [Bank.Put] replaces it.
//
// # Duties of the caller
//
// Weights refer to the mapped file: nothing may use them after [Bank.Close]. A file of a bank may be
// deleted or renamed but must not be changed in place while it is mapped. Names of units and levels
// are letters, digits and the signs . _ - + : (levels only), and do not start with a dot.
package bank
