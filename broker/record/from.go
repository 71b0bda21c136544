package record

import "fmt"

// RecordsFrom is Records from the first record on whose offset delta is fromDelta or
// more. Of those before it only the offset is looked at.
func RecordsFrom(payload []byte, count, fromDelta int32, yield func(Record) bool) error {
	for i := range count {
		body, rest, err := splitRecord(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		p := parser{buf: body}
		p.skip(1) // attributes, unused
		p.varint64()
		offsetDelta := p.varint32()
		if p.bad {
			return fmt.Errorf("%w: record %d has no offset", ErrInvalid, i)
		}
		if offsetDelta >= fromDelta {
			return Records(payload, count-i, yield)
		}
		payload = rest
	}
	return nil
}
