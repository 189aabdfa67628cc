// Package lint holds tests that keep the house in order: which package may import which, and
// that what the documentation promises about commands is what CI runs. It has no code of its own.
package lint
