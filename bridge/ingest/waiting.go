package ingest

// waitingRoom is messages that wait for their topic, or the ids of their partition, to
// be known, in order of arrival.
type waitingRoom struct {
	holder
	messages list[*waiting]
}

// waiting is a message in a waitingRoom.
type waiting struct {
	message  Message // its rule is known
	received receipt
	cost     int64 // charged to BufferBytes
	room     *waitingRoom
	queued   place[*waiting]
	drops    dropPlaces // of a best-effort message
}

// keepWaiting keeps a message in r, if there is room.
func (in *Ingest) keepWaiting(r *waitingRoom, m *Message, received receipt, size int) reason {
	cost := charge(m, size) + batchOverhead
	if !in.makeRoom(&r.holder, cost) {
		return bufferFull
	}
	w := &waiting{message: m.clone(), received: received, cost: cost, room: r}
	w.message.Rule = in.scratch.route.Rule
	r.messages.push(&w.queued, w)
	in.hold(&r.holder, cost)
	if m.asks() {
		in.watchOver()
	} else {
		in.mayDrop(w, &w.drops, &r.holder)
	}
	return taken
}

// nextWaiting takes the oldest message out of r; nil when there is none.
func (in *Ingest) nextWaiting(r *waitingRoom) *waiting {
	if r.messages.front == nil {
		return nil
	}
	w := r.messages.front.item
	in.takeOut(w)
	return w
}

func (in *Ingest) takeOut(w *waiting) {
	w.queued.leave()
	w.drops.leave()
	in.release(&w.room.holder, w.cost)
}

// drop lets w go, a best-effort message.
func (w *waiting) drop(in *Ingest) {
	in.takeOut(w)
	in.turnAway(w.message.Rule, &w.message, bufferFull, nil)
}

func (in *Ingest) placeWaiting(t *topicState) {
	for w := in.nextWaiting(&t.waiting); w != nil; w = in.nextWaiting(&t.waiting) {
		size, why, err := in.prepare(&w.message, w.received)
		if why == taken {
			why, err = in.place(t, &w.message, w.received, size)
		}
		if why != taken {
			in.turnAway(w.message.Rule, &w.message, why, err)
		}
	}
}

func (in *Ingest) refuseWaiting(t *topicState, why reason, err error) {
	in.refuseAllOf(&t.waiting, why, err)
}

func (in *Ingest) refuseAllOf(r *waitingRoom, why reason, err error) {
	for w := in.nextWaiting(r); w != nil; w = in.nextWaiting(r) {
		in.turnAway(w.message.Rule, &w.message, why, err)
	}
	in.acker.poke()
}
