// Package cli holds the commands of paretopress, a file for each noun.
//
// A command gets its streams, arguments and environment injected, so that a test runs it as a shell
// would:
//
//	code := cli.Run(ctx, cli.Options{Args: []string{"model", "info", "builtin"}, Stdout: &out, Stderr: &err, Getenv: os.Getenv})
//
// Results go to standard output, progress and messages to standard error. The exit code is 0 when
// the command did what was asked, 1 when it failed, 2 when it was called wrongly, and 130 when it
// was interrupted.
package cli
