// Closes what begin.inl opened.
#undef SAMPAN_KERNEL_INLINE
#undef SAMPAN_UNROLL
