package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode reads the body of a request. It allocates in proportion to the elements
// that are in body, never to those that body claims. Nothing of body is kept.
func Decode(key, version int16, body []byte) (kmsg.Request, error) {
	shape, ok := shapes[key]
	if !ok {
		return nil, fmt.Errorf("%w: no shape for API key %d", ErrMalformed, key)
	}
	w := walker{version: version, flexible: flexible(key, version)}
	if !w.fits(body, shape) {
		return nil, fmt.Errorf("%w: %s version %d does not hold what it claims", ErrMalformed, kmsg.NameForKey(key), version)
	}
	req := NewRequest(key)
	req.SetVersion(version)
	if err := req.ReadFrom(asKmsg(key, version, body)); err != nil {
		return nil, fmt.Errorf("%w: %s version %d: %w", ErrMalformed, kmsg.NameForKey(key), version, err)
	}
	return req, nil
}

// maxUnknownTags bounds the tagged fields of a request that kmsg has no name for.
// It keeps each structure's in a map, a hundred bytes for three; no client sends
// any.
const maxUnknownTags = 64

type kind int8

const (
	fixed     kind = iota // size bytes
	text                  // a string
	optional              // a string or null
	blob                  // bytes
	maybeBlob             // bytes or null
	list                  // an array of structures
	texts                 // an array of strings
	scalars               // an array of size bytes each, without tagged fields
	nested                // a structure, as it stands in a tagged field
	maybe                 // a structure or null, told apart by the byte before it
)

// field is one place in a message.
type field struct {
	kind    kind
	size    int
	from    int16 // first version that has the field
	through int16 // last version that has it
	of      group // of list, nested and maybe
}

// group is a structure: fields in their order, then, in flexible versions, tagged
// ones. tagged holds those that kmsg decodes, by number; it keeps others as bytes.
type group struct {
	fields []field
	tagged []field
}

const always int16 = 1<<15 - 1

func bytesOf(size int) field  { return field{kind: fixed, size: size, through: always} }
func str() field              { return field{kind: text, through: always} }
func nullableStr() field      { return field{kind: optional, through: always} }
func someBytes() field        { return field{kind: blob, through: always} }
func nullableBytes() field    { return field{kind: maybeBlob, through: always} }
func strings() field          { return field{kind: texts, through: always} }
func arrayOf(size int) field  { return field{kind: scalars, size: size, through: always} }
func array(of ...field) field { return field{kind: list, of: group{fields: of}, through: always} }

func structure(of ...field) field { return field{kind: nested, of: group{fields: of}, through: always} }

func nullableStructure(of ...field) field {
	return field{kind: maybe, of: group{fields: of}, through: always}
}

func (f field) since(version int16) field { f.from = version; return f }
func (f field) until(version int16) field { f.through = version; return f }
func (f field) tags(fields ...field) field {
	f.of.tagged = fields
	return f
}

// walker holds a request against its shape, by kmsg's rules or stricter ones.
type walker struct {
	version     int16
	flexible    bool
	unknownTags int
}

// fits reports whether body starts with a whole structure of shape g.
func (w *walker) fits(body []byte, g group) bool {
	c := cursor{buf: body}
	w.group(&c, g)
	return !c.bad
}

func (w *walker) group(c *cursor, g group) {
	for _, f := range g.fields {
		if w.version >= f.from && w.version <= f.through {
			w.field(c, f)
		}
	}
	if w.flexible {
		c.tags(func(tag uint32, value []byte) { w.tag(c, g.tagged, tag, value) })
	}
}

func (w *walker) field(c *cursor, f field) {
	switch f.kind {
	case fixed:
		c.take(f.size)
	case text:
		c.take(c.textLen(w.flexible)) // null is bad here
	case optional:
		c.nullable(c.textLen(w.flexible))
	case blob:
		c.take(c.bytesLen(w.flexible)) // null is bad here
	case maybeBlob:
		c.nullable(c.bytesLen(w.flexible))
	case texts:
		for n := c.count(w.flexible); n > 0 && !c.bad; n-- {
			c.take(c.textLen(w.flexible))
		}
	case scalars:
		c.take(c.count(w.flexible) * f.size)
	case list:
		for n := c.count(w.flexible); n > 0 && !c.bad; n-- {
			w.group(c, f.of)
		}
	case nested:
		w.group(c, f.of)
	case maybe:
		if present := c.take(1); !c.bad && int8(present[0]) != -1 {
			w.group(c, f.of)
		}
	}
}

func (w *walker) tag(c *cursor, known []field, tag uint32, value []byte) {
	if int64(tag) >= int64(len(known)) {
		w.unknownTags++
		c.bad = c.bad || w.unknownTags > maxUnknownTags
		return
	}
	inner := cursor{buf: value}
	w.field(&inner, known[tag])
	c.bad = c.bad || inner.bad
}
