// Package devserver runs a Temporal server and its UI inside this process, on a SQLite file in a data
// folder, reachable from this machine only.
//
//	srv, err := devserver.Start(devserver.Options{DataDir: dir, Port: 7233, UIPort: 8233})
//	...
//	err = srv.Stop(ctx)
//
// One process at a time serves a data folder (see [lease]); every other one finds its address there.
// The database is made for one release of the Temporal server and never migrated, so its name holds the
// release: after an upgrade a new one is made beside it, and runs go on from their folders.
//
// The caller stops its workers and closes its clients before it stops the server. No signal is handled
// here. This is the only package of the module that imports the Temporal server, which takes minutes to
// compile.
package devserver
