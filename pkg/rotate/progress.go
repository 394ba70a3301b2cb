package rotate

import (
	"fmt"
	"sync"
	"time"
)

// tellProgress is how often a long job says how far it has come.
const tellProgress = 10 * time.Second

// Progress counts what is done of many. It is safe for concurrent use.
type Progress struct {
	mu    sync.Mutex
	began time.Time
	done  int
	all   int
}

// NewProgress returns the progress of a job that begins now, over n users.
func NewProgress(n int) *Progress { return &Progress{began: mono(), all: n} }

// Add notes that n more are done.
func (p *Progress) Add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
}

// State returns how many are done, of how many, and how long the others will take
// if they take as long; 0 if that is not known.
func (p *Progress) State() (done, all int, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done > 0 {
		left = mono().Sub(p.began) * time.Duration(p.all-p.done) / time.Duration(p.done)
	}
	return p.done, p.all, left
}

// String says "120 of 500, 40s left".
func (p *Progress) String() string {
	done, all, left := p.State()
	if left = left.Round(time.Second); left == 0 {
		return fmt.Sprintf("%d of %d", done, all)
	}
	return fmt.Sprintf("%d of %d, %s left", done, all, left)
}

// Every calls tell at every interval until it is stopped, and once more then if it
// was called before.
func (p *Progress) Every(interval time.Duration, tell func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		t := time.NewTicker(interval)
		defer t.Stop()
		for told := false; ; told = true {
			select {
			case <-t.C:
				tell()
			case <-end:
				if told {
					tell()
				}
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}
