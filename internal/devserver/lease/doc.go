// Package lease says who serves a data folder: one process at a time holds the folder's lock, and
// publishes the addresses under which others reach it.
//
//	if info, ok := lease.Lookup(dir); ok {
//		attach(info.Address)
//	}
//
// The lock is the kernel's, on the file "lock" in the folder, so that it ends with the process however
// that ends. The file "server.json" holds the addresses; one that a killed process left behind counts
// for nothing, because nobody holds the lock. This package does not import the server: a client
// of it compiles in seconds.
package lease
