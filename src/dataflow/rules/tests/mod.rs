//! The rules, checked: every combination of a small alphabet against what must hold, and the sentences one by one.

mod alphabet;
mod pairs;
mod sentences;
mod star;
mod table;
mod unread;
mod world;
