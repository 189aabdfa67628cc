package devserver

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"go.temporal.io/server/common/log/tag"
)

// maxLog is the size above which a log is started anew.
const maxLog = 16 << 20

// logFile writes what the server reports as errors to a file. It is the server's logger.
type logFile struct {
	path  string
	file  *os.File
	out   *slog.Logger
	fatal chan string // what the server took for the end of the world, at most one
}

// openLog opens the log at path, to be added to.
func openLog(path string) (*logFile, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, err
	}
	out := slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelError}))
	return &logFile{path: path, file: f, out: out, fatal: make(chan string, 1)}, nil
}

// Close closes the file. Goroutines that the server leaves behind may go on logging: that is dropped.
func (l *logFile) Close() error { return l.file.Close() }

// SLog is the log for parts of the server that want slog.
func (l *logFile) SLog() *slog.Logger { return l.out }

func (l *logFile) Debug(string, ...tag.Tag)           {}
func (l *logFile) Info(string, ...tag.Tag)            {}
func (l *logFile) Warn(string, ...tag.Tag)            {}
func (l *logFile) Error(msg string, tags ...tag.Tag)  { l.write(msg, tags) }
func (l *logFile) DPanic(msg string, tags ...tag.Tag) { l.write(msg, tags) }
func (l *logFile) Panic(msg string, tags ...tag.Tag)  { l.write(msg, tags) }

// Fatal notes what went wrong. The server expects it not to return; here the process goes on, and Start
// takes the note up.
func (l *logFile) Fatal(msg string, tags ...tag.Tag) {
	l.write(msg, tags)
	text := msg
	for _, t := range tags {
		if t.Key() == "error" {
			text += fmt.Sprintf(": %v", t.Value())
		}
	}
	select {
	case l.fatal <- text:
	default:
	}
}

// write logs an error with its tags.
func (l *logFile) write(msg string, tags []tag.Tag) {
	attrs := make([]slog.Attr, len(tags))
	for i, t := range tags {
		attrs[i] = slog.Any(t.Key(), t.Value())
	}
	l.out.LogAttrs(context.Background(), slog.LevelError, msg, attrs...)
}
