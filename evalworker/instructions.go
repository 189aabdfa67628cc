package evalworker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/paretopress/paretopress/engine"
)

// Roles of messages that this package knows by name.
const (
	roleUser      = "user"
	roleAssistant = "assistant"
)

// message is what one side says.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversation is a list of messages.
type conversation []message

// instructionJSON is a line of instruction data, in any of three forms: messages (OpenAI, TRL), a prompt and its completion, or an instruction, an
// input that may be empty and an output (Alpaca).
type instructionJSON struct {
	Messages    conversation `json:"messages"`
	Prompt      *string      `json:"prompt"`
	Completion  *string      `json:"completion"`
	Instruction *string      `json:"instruction"`
	Input       string       `json:"input"`
	Output      *string      `json:"output"`
}

// conversation is the line as messages.
func (l instructionJSON) conversation() (conversation, error) {
	switch {
	case len(l.Messages) > 0:
		for _, m := range l.Messages {
			if m.Role == roleAssistant {
				return l.Messages, nil
			}
		}
		return nil, fmt.Errorf("no message is the assistant's: there is nothing to learn")
	case l.Prompt != nil && l.Completion != nil:
		return conversation{{roleUser, *l.Prompt}, {roleAssistant, *l.Completion}}, nil
	case l.Instruction != nil && l.Output != nil:
		ask := *l.Instruction
		if l.Input != "" {
			ask += "\n\n" + l.Input
		}
		return conversation{{roleUser, ask}, {roleAssistant, *l.Output}}, nil
	}
	return nil, fmt.Errorf(`neither "messages", nor "prompt" and "completion", nor "instruction" and "output"`)
}

// maxLine bounds a line of instruction data.
const maxLine = 64 << 20

// instructionExamples reads a file of JSON lines as examples of at most seqLen tokens, in the model's chat template, of which the answers are to be
// predicted. A model without a template gets prompt and completion one after the other.
func instructionExamples(s source, ck *engine.Checkpoint, seqLen int) (examples, error) {
	var e examples
	tokenizer, err := ck.Tokenizer()
	if err != nil {
		return e, err
	}
	vocabulary, err := ck.Vocabulary()
	if err != nil {
		return e, err
	}
	var template *chatTemplate
	if vocabulary.ChatTemplate != "" {
		if template, err = newChatTemplate(vocabulary); err != nil {
			return e, mark(ErrJob, fmt.Errorf("evalworker: the model's chat template: %w", err))
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(s.data))
	lines.Buffer(nil, maxLine)
	for line := 1; lines.Scan(); line++ {
		text := bytes.TrimSpace(lines.Bytes())
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(text) == 0 {
			continue
		}
		fail := func(err error) error {
			return mark(ErrJob, fmt.Errorf("evalworker: --instructions: %s:%d: %w", s.name, line, err))
		}
		var l instructionJSON
		if err := json.Unmarshal(text, &l); err != nil {
			return e, fail(fmt.Errorf("no line of JSON: %w", err))
		}
		c, err := l.conversation()
		if err != nil {
			return e, fail(err)
		}
		tokens, counted, err := c.example(tokenizer, template, vocabulary.EOS)
		if err != nil {
			return e, fail(err)
		}
		e.add(tokens, counted, seqLen)
	}
	if err := lines.Err(); err != nil {
		return e, mark(ErrJob, fmt.Errorf("evalworker: --instructions: %s: %w", s.name, err))
	}
	if len(e.tokens) == 0 {
		why := "it has no lines"
		if e.left > 0 {
			why = fmt.Sprintf("%d examples leave nothing to predict within --seq-len %d", e.left, seqLen)
		}
		return e, jobErrorf("--instructions: %s gives no example: %s", s.name, why)
	}
	return e, nil
}
