//! The engine's voice, and who hears it.
//!
//! Telling never waits (F81). A listener that is slow loses progress first, of which the next says all again; for
//! everything else there is room kept. Should that be too little, it is told how much it has missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::run::Event;

/// Events that may wait for a listener.
const ROOM: usize = 1_024;
/// The room in which neither progress nor batches may wait: at a few changes of pace a minute, some hours of them.
const KEPT: usize = 768;

/// Says what happens.
#[derive(Clone)]
pub(super) struct Voice {
    events: mpsc::Sender<Event>,
    missed: Arc<AtomicU64>,
}

/// The same, for whoever must not keep a listener waiting for more.
#[derive(Clone)]
pub(super) struct WeakVoice {
    events: mpsc::WeakSender<Event>,
    missed: Arc<AtomicU64>,
}

/// Hears what happens.
pub(super) struct Listener {
    events: mpsc::Receiver<Event>,
    missed: Arc<AtomicU64>,
}

/// Returns a voice, and who hears it.
pub(super) fn pair() -> (Voice, Listener) {
    let (sender, events) = mpsc::channel(ROOM);
    let missed: Arc<AtomicU64> = Arc::default();
    (Voice { events: sender, missed: Arc::clone(&missed) }, Listener { events, missed })
}

impl Voice {
    pub(super) fn say(&self, event: Event) {
        let is_passing = matches!(event, Event::Progress(_) | Event::BatchCommitted { .. });
        if is_passing && self.events.capacity() <= KEPT {
            return;
        }
        if self.events.try_send(event).is_err() && !is_passing {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn downgrade(&self) -> WeakVoice {
        WeakVoice { events: self.events.downgrade(), missed: Arc::clone(&self.missed) }
    }
}

impl WeakVoice {
    /// Returns the voice, if anybody still has something to say.
    pub(super) fn upgrade(&self) -> Option<Voice> {
        Some(Voice { events: self.events.upgrade()?, missed: Arc::clone(&self.missed) })
    }
}

impl Listener {
    /// Returns what happened next; `None` when nobody has anything to say any more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        // Something was missed when everything else that waits had been said.
        if self.events.is_empty()
            && let Some(missed) = self.missed()
        {
            return Some(missed);
        }
        self.events.recv().await
    }

    fn missed(&self) -> Option<Event> {
        let events = self.missed.swap(0, Ordering::Relaxed);
        (events > 0).then_some(Event::Missed { events })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::run::Outcome;
    use crate::walk::{Chunk, Key};

    fn batch() -> Event {
        let upto = Key::new(vec!["1".into()]);
        let chunk = Chunk { after: None, upto, keys: 1, last: false, stripe: None };
        Event::BatchCommitted { chunk, outcome: Outcome::default() }
    }

    async fn heard(voice: Voice, mut listener: Listener) -> Vec<Event> {
        drop(voice);
        let mut heard = Vec::new();
        while let Some(event) = listener.next().await {
            heard.push(event);
        }
        heard
    }

    #[tokio::test]
    async fn batches_take_no_room_from_what_is_said_once() {
        let (voice, listener) = pair();
        for _ in 0..2 * ROOM {
            voice.say(batch());
        }
        for _ in 0..KEPT {
            voice.say(Event::Resumed);
        }
        let heard = heard(voice, listener).await;
        let resumed = heard.iter().filter(|event| matches!(event, Event::Resumed)).count();
        assert_eq!((resumed, heard.len()), (KEPT, ROOM));
    }

    #[tokio::test]
    async fn who_has_missed_something_is_told_how_much_and_once() {
        let (voice, mut listener) = pair();
        for _ in 0..ROOM + 3 {
            voice.say(Event::Resumed);
        }
        for _ in 0..ROOM {
            assert!(matches!(listener.next().await, Some(Event::Resumed)));
        }
        let last = listener.next().now_or_never().flatten();
        assert!(matches!(last, Some(Event::Missed { events: 3 })));
        voice.say(Event::Leaving);
        assert!(matches!(heard(voice, listener).await[..], [Event::Leaving]));
    }

    #[tokio::test]
    async fn what_is_missed_is_told_also_when_nobody_says_anything_more() {
        let (voice, listener) = pair();
        for _ in 0..=ROOM {
            voice.say(Event::Resumed);
        }
        let heard = heard(voice, listener).await;
        assert!(matches!(heard[ROOM..], [Event::Missed { events: 1 }]), "{}", heard.len());
    }
}
