package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// member is a member of a JSON object, its value as it was written.
type member struct {
	key   string
	value json.RawMessage
}

// object is a JSON object whose members keep their order, and their values their form.
type object []member

// parseObject reads an object.
func parseObject(data []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("no JSON object")
	}
	var o object
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: key.(string)} // a decoder gives no other kind of key
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		o = append(o, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("the JSON object is followed by more")
	}
	return o, nil
}

// get is the value of a member, the last one of that name; nil where there is none.
func (o object) get(key string) json.RawMessage {
	var value json.RawMessage
	for _, m := range o {
		if m.key == key {
			value = m.value
		}
	}
	return value
}

// set gives a member a value, at its place or, where it is new, at the end.
func (o *object) set(key string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // of types that always can be
	}
	found := false
	for i := range *o {
		if (*o)[i].key == key {
			(*o)[i].value, found = raw, true
		}
	}
	if !found {
		*o = append(*o, member{key, raw})
	}
}

// remove takes a member out.
func (o *object) remove(key string) {
	kept := (*o)[:0]
	for _, m := range *o {
		if m.key != key {
			kept = append(kept, m)
		}
	}
	*o = kept
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, m := range o {
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), m.value...)
	}
	return append(out, '}'), nil
}

// file is the object as the text of a file, indented by two spaces.
func (o object) file() ([]byte, error) {
	raw, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
