package wire

import "encoding/binary"

// cursor takes fields off buf. After the first that does not fit, bad is set and
// everything else it returns is zero.
type cursor struct {
	buf []byte
	bad bool
}

// take returns the next n bytes, not copied.
func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.buf) {
		c.bad, c.buf = true, nil
		return nil
	}
	v := c.buf[:n:n]
	c.buf = c.buf[n:]
	return v
}

func (c *cursor) int16() int16 {
	if b := c.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// uvarint reads an unsigned 32-bit number of at most five bytes.
func (c *cursor) uvarint() uint32 {
	var v uint32
	for i := range 5 {
		if c.bad || i >= len(c.buf) {
			break
		}
		b := c.buf[i]
		if i == 4 && b > 0x0f {
			break // more than 32 bits
		}
		v |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.buf = c.buf[i+1:]
			return v
		}
	}
	c.bad, c.buf = true, nil
	return 0
}

// compact reads a flexible version's length, which is sent one higher so that 0
// can stand for null; null is -1 here. A length that the rest of buf cannot hold
// is bad.
func (c *cursor) compact() int {
	v := c.uvarint()
	if int64(v)-1 > int64(len(c.buf)) {
		c.bad, c.buf = true, nil
		return 0
	}
	return int(v) - 1
}

// textLen reads the length of a string, -1 for null.
func (c *cursor) textLen(flexible bool) int {
	if flexible {
		return c.compact()
	}
	return int(c.int16())
}

// bytesLen reads the length of bytes, -1 for null.
func (c *cursor) bytesLen(flexible bool) int {
	if flexible {
		return c.compact()
	}
	return int(c.int32())
}

// nullable returns the next n bytes, nil for null.
func (c *cursor) nullable(n int) []byte {
	if n == -1 {
		return nil
	}
	return c.take(n)
}

// count reads how many elements an array has, 0 for null. As every element takes
// a byte at least, more than there are bytes left is bad.
func (c *cursor) count(flexible bool) int {
	n := c.bytesLen(flexible) // the same form
	if n < -1 || n > len(c.buf) {
		c.bad, c.buf = true, nil
	}
	if c.bad {
		return 0
	}
	return max(n, 0)
}

// tags calls each with the tagged fields that end every structure of a flexible
// version, and returns when the bytes run out.
func (c *cursor) tags(each func(tag uint32, value []byte)) {
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		tag := c.uvarint()
		size := c.uvarint()
		if int64(size) > int64(len(c.buf)) {
			c.bad, c.buf = true, nil
			return
		}
		value := c.take(int(size))
		if !c.bad {
			each(tag, value)
		}
	}
}

func ignore(uint32, []byte) {}
