package mqtt

import (
	"bytes"
	"slices"
	"sync"
	"time"
)

// memory is a Store that outlives its Server.
type memory struct {
	mu      sync.Mutex
	keys    []string
	values  [][]byte
	at      int64 // timestamp of records, Unix milliseconds; 0 for now
	fail    error
	held    []func()
	hold    bool
	damaged int
}

func (m *memory) AppendState(keys, values [][]byte, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.fail
	if err == nil {
		for i := range keys {
			m.keys = append(m.keys, string(keys[i]))
			m.values = append(m.values, bytes.Clone(values[i]))
		}
	}
	if m.hold {
		m.held = append(m.held, func() { done(err) })
		return
	}
	done(err)
}

func (m *memory) ReadState(yield func(timestamp int64, key, value []byte)) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.at
	if at == 0 {
		at = time.Now().UnixMilli()
	}
	for i := range m.keys {
		yield(at, []byte(m.keys[i]), m.values[i])
	}
	return m.damaged, nil
}

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// release lets held appends be durable.
func (m *memory) release() {
	m.mu.Lock()
	held := m.held
	m.hold, m.held = false, nil
	m.mu.Unlock()
	for _, done := range held {
		done()
	}
}

// first is a store that holds the first n records of m alone.
func (m *memory) first(n int) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{keys: slices.Clone(m.keys[:n]), values: slices.Clone(m.values[:n])}
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys)
}

// live are the keys that have a value.
func (m *memory) live() (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := map[string]bool{}
	for i, key := range m.keys {
		last[key] = m.values[i] != nil
	}
	for key, there := range last {
		if there {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func latest(m *memory) map[string][]byte {
	all := map[string][]byte{}
	for i, key := range m.keys {
		if all[key] = m.values[i]; m.values[i] == nil {
			delete(all, key)
		}
	}
	return all
}
