// Package lru holds a bounded number of things that are costly to make.
package lru

import (
	"container/list"
	"sync"
)

// Cache keeps the values that were used last. It is safe for concurrent use; values must be.
type Cache[K comparable, V any] struct {
	mu      sync.Mutex
	size    int
	entries map[K]*list.Element // of entry[K, V]
	order   list.List           // the one used last in front
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// New is a cache of at most size values.
func New[K comparable, V any](size int) *Cache[K, V] {
	return &Cache[K, V]{size: size, entries: map[K]*list.Element{}}
}

// Get returns the value of key, which make gives if it is not there. An error is not kept. Two
// callers at once may both make a value.
func (c *Cache[K, V]) Get(key K, make func() (V, error)) (V, error) {
	c.mu.Lock()
	if e := c.entries[key]; e != nil {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(entry[K, V]).value, nil
	}
	c.mu.Unlock()
	v, err := make()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] == nil {
		c.add(key, v)
	}
	return v, nil
}

// Put makes value that of key, whatever it was.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		e.Value = entry[K, V]{key, value}
		c.order.MoveToFront(e)
		return
	}
	c.add(key, value)
}

// add is for a key that has no value. The caller holds mu.
func (c *Cache[K, V]) add(key K, value V) {
	c.entries[key] = c.order.PushFront(entry[K, V]{key, value})
	if c.order.Len() > c.size {
		delete(c.entries, c.order.Remove(c.order.Back()).(entry[K, V]).key)
	}
}

// Delete forgets the value of key, if there is one.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.order.Remove(e)
		delete(c.entries, key)
	}
}

// Clear forgets all values.
func (c *Cache[K, V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Init()
	clear(c.entries)
}

// Len is the number of values held.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}
