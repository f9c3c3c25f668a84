//! The file that travels: manifest, index, chunks, pack and open.
