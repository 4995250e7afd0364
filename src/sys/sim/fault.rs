//! Deliberate faults of yeet, for the proof that the simulation would find them.
//!
//! Holds: without [`Faulty`] none of them is in; what asks for one is compiled in tests only.

use std::cell::Cell;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A delete is carried out though the other side edited the file.
    DeleteBeatsEdit,
    /// Whatever is there is taken for what the job expects.
    UncheckedBefore,
    /// What came out of a swap or a delete is taken for what was looked at.
    UncheckedAfter,
    /// That somebody waits to write to what is displaced goes unnoticed.
    LeaseIgnored,
    /// The other side is not looked at once more before a delete.
    ReasonUnchecked,
    /// A new name is given though it is taken.
    NamesTakenOver,
    /// Agreement is recorded before both ends are on disk.
    AgreedBeforeDurable,
    /// What is about to be done is not journalled.
    IntentNotJournalled,
    /// What was displaced is not journalled.
    KeptNotJournalled,
    /// What an act that failed had displaced is forgotten.
    FailureForgotten,
    /// Recovery takes everything it finds staged for its own.
    RecoveryRemovesAll,
    /// After a crash, what is under a real name counts as whole.
    TornAccepted,
    /// What recovery moved is not on disk when its announcement goes.
    RecoveryNotFlushed,
    /// A directory that cannot be listed counts as empty.
    ErrorIsAbsence,
    /// A root that is gone counts as empty.
    LostRootIsEmpty,
    /// A sink's report is taken over though the replica spoke meanwhile.
    StaleReport,
    /// Events were lost, and nobody is told.
    OverflowSilent,
    /// What belongs together goes one by one.
    GroupApart,
    /// A conflict stops everything.
    ConflictStopsAll,
    /// What is ignored is looked at again where the rules changed, and nowhere else.
    RulesStay,
    /// A root that was emptied is not held.
    EmptiedUnnoticed,
    /// Deletes that are held go all the same.
    BrakeIgnored,
    /// A symlink on the way to a path is followed.
    LinksFollowed,
    /// Rules of ignoring are about directories alone.
    IgnoredCarried,
    /// A replica that is an older copy of itself is taken for what was agreed on.
    OlderBelieved,
    /// Whoever asks is answered before the watchers have told what happened.
    AnsweredUnflushed,
    /// `explain` tells what was agreed for what there is.
    AgreedExplained,
    /// Of different edits of leaves, that of the leaf with the smallest number flows.
    LeavesInOrder,
    /// Of different edits of leaves, that which was heard of first flows.
    ArrivalDecides,
    /// A leaf's edit does not beat a delete at the source, and is in conflict with it.
    SidesDiffer,
    /// Jobs go in the order in which they came, whatever their size.
    SizeIgnored,
    /// What is small goes first, for ever.
    NothingAges,
    /// Large jobs take all slots.
    LargeTakesLast,
    /// What becomes of a path is remembered for ever.
    NothingForgotten,
    /// Names that came and went are known for ever.
    NamesKept,
}

impl Fault {
    /// Whether it shows only where the engine, the actor and the sources are there too.
    #[must_use]
    pub fn is_about_the_whole(self) -> bool {
        matches!(
            self,
            Self::DeleteBeatsEdit
                | Self::ErrorIsAbsence
                | Self::LostRootIsEmpty
                | Self::StaleReport
                | Self::OverflowSilent
                | Self::GroupApart
        )
    }

    /// Whether nothing smaller than a history can show it.
    #[must_use]
    pub fn needs_histories(self) -> bool {
        matches!(
            self,
            Self::ConflictStopsAll
                | Self::RulesStay
                | Self::EmptiedUnnoticed
                | Self::BrakeIgnored
                | Self::LinksFollowed
                | Self::IgnoredCarried
                | Self::OlderBelieved
                | Self::AnsweredUnflushed
                | Self::AgreedExplained
        )
    }

    pub const ALL: [Self; 35] = [
        Self::DeleteBeatsEdit,
        Self::UncheckedBefore,
        Self::UncheckedAfter,
        Self::LeaseIgnored,
        Self::ReasonUnchecked,
        Self::NamesTakenOver,
        Self::AgreedBeforeDurable,
        Self::IntentNotJournalled,
        Self::KeptNotJournalled,
        Self::FailureForgotten,
        Self::RecoveryRemovesAll,
        Self::TornAccepted,
        Self::RecoveryNotFlushed,
        Self::ErrorIsAbsence,
        Self::LostRootIsEmpty,
        Self::StaleReport,
        Self::OverflowSilent,
        Self::GroupApart,
        Self::ConflictStopsAll,
        Self::RulesStay,
        Self::EmptiedUnnoticed,
        Self::BrakeIgnored,
        Self::LinksFollowed,
        Self::IgnoredCarried,
        Self::OlderBelieved,
        Self::AnsweredUnflushed,
        Self::AgreedExplained,
        Self::LeavesInOrder,
        Self::ArrivalDecides,
        Self::SidesDiffer,
        Self::SizeIgnored,
        Self::NothingAges,
        Self::LargeTakesLast,
        Self::NothingForgotten,
        Self::NamesKept,
    ];
}

thread_local! {
    static NOW: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// The fault is in this thread's yeet until this is dropped.
pub struct Faulty(());

impl Faulty {
    #[must_use]
    pub fn with(fault: Fault) -> Self {
        NOW.set(Some(fault));
        Self(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        NOW.set(None);
    }
}

/// Whether yeet has this fault.
#[must_use]
pub fn has(fault: Fault) -> bool {
    NOW.get() == Some(fault)
}
