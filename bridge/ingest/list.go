package ingest

// list is a queue that whatever stands in it may leave at any time, at no cost in
// memory. The zero list is empty.
type list[T any] struct {
	front, back *place[T]
	len         int
}

// place is an item's place in a list. It is in one list at most; the zero place is in
// none.
type place[T any] struct {
	item       T
	in         *list[T]
	next, prev *place[T]
}

// push puts p, which is in no list, at the end of l, where it stands for item.
func (l *list[T]) push(p *place[T], item T) {
	*p = place[T]{item: item, in: l, prev: l.back}
	if l.back != nil {
		l.back.next = p
	} else {
		l.front = p
	}
	l.back = p
	l.len++
}

// leave takes p out of its list, if it is in one.
func (p *place[T]) leave() {
	if p.in == nil {
		return
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		p.in.front = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		p.in.back = p.prev
	}
	p.in.len--
	*p = place[T]{}
}
