def encoder_layers_forward(w, p, s, B, x, x_2, x_3):
    # positional, epsilon(eps=1e-06)
    add = x + x_2  # f32[B,525,256]
    del x_2
    # self_attn: linear, epsilon(eps=1e-06)
    self_attn_value_proj = F.linear(x, w[p + "self_attn.value_proj.weight"], w[p + "self_attn.value_proj.bias"])  # f32[B,525,256]
    s["self_attn_value_proj"] = self_attn_value_proj
    # self_attn: structural, pass
    self_attn_values = self_attn_value_proj.reshape((B, 525, 8, 32))  # f32[B,525,8,32]
    s["self_attn_values"] = self_attn_values
    del self_attn_value_proj
    # self_attn: linear, epsilon(eps=1e-06)
    self_attn_sampling_offsets = F.linear(add, w[p + "self_attn.sampling_offsets.weight"], w[p + "self_attn.sampling_offsets.bias"])  # f32[B,525,192]
    # self_attn: coordinate
    self_attn_offsets = self_attn_sampling_offsets.reshape((B, 525, 8, 3, 4, 2))  # f32[B,525,8,3,4,2]
    del self_attn_sampling_offsets
    # self_attn: constant
    self_attn_anchor = x_3.reshape((1, 525, 1, 3, 1, 2))  # f32[1,525,1,3,1,2]
    del x_3
    self_attn_extent = w["levels@20x20_10x10_5x5@4"]  # f32[3,4,2]
    # self_attn: coordinate
    self_attn_shift = self_attn_offsets.div_(self_attn_extent)  # f32[B,525,8,3,4,2]
    del self_attn_offsets, self_attn_extent
    # self_attn: constant
    self_attn_anchors = torch.cat([self_attn_anchor, self_attn_anchor, self_attn_anchor, self_attn_anchor], -2)  # f32[1,525,1,3,4,2]
    del self_attn_anchor
    # self_attn: coordinate
    self_attn_locations = self_attn_shift.add_(self_attn_anchors)  # f32[B,525,8,3,4,2]
    s["self_attn_locations"] = self_attn_locations
    del self_attn_anchors, self_attn_shift
    # self_attn: linear, epsilon(eps=1e-06)
    self_attn_attention_weights = F.linear(add, w[p + "self_attn.attention_weights.weight"], w[p + "self_attn.attention_weights.bias"])  # f32[B,525,96]
    s["self_attn_attention_weights"] = self_attn_attention_weights
    del add
    # self_attn: structural, pass
    self_attn_scores = self_attn_attention_weights.reshape((B, 525, 8, 12))  # f32[B,525,8,12]
    s["self_attn_scores"] = self_attn_scores
    del self_attn_attention_weights
    # self_attn: deformable_probabilities, taylor
    self_attn_probabilities = softmax_along(self_attn_scores, -1)  # f32[B,525,8,12]
    s["self_attn_probabilities"] = self_attn_probabilities
    del self_attn_scores
    # self_attn: structural, pass
    self_attn_weights = self_attn_probabilities.reshape((B, 525, 8, 3, 4))  # f32[B,525,8,3,4]
    s["self_attn_weights"] = self_attn_weights
    del self_attn_probabilities
    # self_attn: deformable_sampling, value_and_weights(share=0.5, eps=1e-06)
    self_attn_sampled = deform_sample(self_attn_values, self_attn_locations, self_attn_weights, ((20, 20), (10, 10), (5, 5)), s, "self_attn_sampled")  # f32[B,525,256]
    s["self_attn_sampled"] = self_attn_sampled
    del self_attn_values, self_attn_locations, self_attn_weights
    # self_attn: linear, epsilon(eps=1e-06)
    self_attn = F.linear(self_attn_sampled, w[p + "self_attn.output_proj.weight"], w[p + "self_attn.output_proj.bias"])  # f32[B,525,256]
    s["self_attn"] = self_attn
    del self_attn_sampled
    # residual, epsilon(eps=1e-06)
    add_2 = x + self_attn  # f32[B,525,256]
    del x, self_attn
    # norm1: layer_norm, detach_sigma(eps=1e-06)
    norm1 = F.layer_norm(add_2, add_2.shape[-1:], w[p + "norm1.weight"], w[p + "norm1.bias"], 1e-05)  # f32[B,525,256]
    del add_2
    # linear1: linear, epsilon(eps=1e-06)
    linear1 = F.linear(norm1, w[p + "linear1.weight"], w[p + "linear1.bias"])  # f32[B,525,512]
    # activation, pass
    relu = linear1.relu_()  # f32[B,525,512]
    s["relu"] = relu
    del linear1
    # linear2: linear, epsilon(eps=1e-06)
    linear2 = F.linear(relu, w[p + "linear2.weight"], w[p + "linear2.bias"])  # f32[B,525,256]
    s["linear2"] = linear2
    del relu
    # residual, epsilon(eps=1e-06)
    add_3 = norm1.add_(linear2)  # f32[B,525,256]
    del norm1, linear2
    # norm2: layer_norm, detach_sigma(eps=1e-06)
    norm2 = F.layer_norm(add_3, add_3.shape[-1:], w[p + "norm2.weight"], w[p + "norm2.bias"], 1e-05)  # f32[B,525,256]
    s["norm2"] = norm2
    del add_3
    return norm2


def encoder_layers_relevance(w, p, s, K, B, g, x, x_2):
    # norm2: detach_sigma(eps=1e-06)
    r_mul = stab_mul(g, s["norm2"], 1e-06)  # f32[K,B,525,256]
    del g
    # residual, epsilon(eps=1e-06)
    add_again = x + s["self_attn"]  # f32[B,525,256]
    # norm1: layer_norm, detach_sigma(eps=1e-06)
    norm1_again = F.layer_norm(add_again, add_again.shape[-1:], w[p + "norm1.weight"], w[p + "norm1.bias"], 1e-05)  # f32[B,525,256]
    # residual, epsilon(eps=1e-06)
    add_again_2 = norm1_again + s["linear2"]  # f32[B,525,256]
    # norm2: detach_sigma(eps=1e-06)
    r_rstd = rstd(add_again_2, 1e-05, 0)  # f32[B,525,1]
    r_layer_norm_transpose = layer_norm_transpose(r_mul, r_rstd, w[p + "norm2.weight"])  # f32[K,B,525,256]
    del r_mul, r_rstd
    # epsilon(eps=1e-06)
    r_mul_2 = stab_mul(r_layer_norm_transpose, add_again_2, 1e-06, over=True)  # f32[K,B,525,256]
    del r_layer_norm_transpose, add_again_2
    # linear2: epsilon(eps=1e-06)
    r_mul_3 = stab_mul(r_mul_2, s["linear2"], 1e-06)  # f32[K,B,525,256]
    r_linear_transpose = r_mul_3 @ w[p + "linear2.weight"]  # f32[K,B,525,512]
    del r_mul_3
    # linear1: epsilon(eps=1e-06)
    r_mul_4 = stab_mul(r_linear_transpose, s["relu"], 1e-06, over=True)  # f32[K,B,525,512]
    del r_linear_transpose
    r_linear_transpose_2 = r_mul_4 @ w[p + "linear1.weight"]  # f32[K,B,525,256]
    del r_mul_4
    r_add = r_mul_2.add_(r_linear_transpose_2)  # f32[K,B,525,256]
    del r_mul_2, r_linear_transpose_2
    # norm1: detach_sigma(eps=1e-06)
    r_mul_5 = stab_mul(r_add, norm1_again, 1e-06, over=True)  # f32[K,B,525,256]
    del r_add, norm1_again
    r_rstd_2 = rstd(add_again, 1e-05, 0)  # f32[B,525,1]
    r_layer_norm_transpose_2 = layer_norm_transpose(r_mul_5, r_rstd_2, w[p + "norm1.weight"])  # f32[K,B,525,256]
    del r_mul_5, r_rstd_2
    # epsilon(eps=1e-06)
    r_mul_6 = stab_mul(r_layer_norm_transpose_2, add_again, 1e-06, over=True)  # f32[K,B,525,256]
    del r_layer_norm_transpose_2, add_again
    # self_attn: epsilon(eps=1e-06)
    r_mul_7 = stab_mul(r_mul_6, s["self_attn"], 1e-06)  # f32[K,B,525,256]
    r_linear_transpose_3 = r_mul_7 @ w[p + "self_attn.output_proj.weight"]  # f32[K,B,525,256]
    del r_mul_7
    # self_attn: value_and_weights(share=0.5, eps=1e-06)
    r_mul_8 = stab_mul(r_linear_transpose_3, s["self_attn_sampled"], 1e-06, over=True)  # f32[K,B,525,256]
    del r_linear_transpose_3
    r_deform_weight_transpose = deform_weight_transpose(r_mul_8, s["self_attn_values"], s["self_attn_locations"], ((20, 20), (10, 10), (5, 5)), s, "self_attn_sampled")  # f32[K,B,525,8,3,4]
    r_scale = r_deform_weight_transpose.mul_(0.5)  # f32[K,B,525,8,3,4]
    del r_deform_weight_transpose
    r_deform_splat = deform_splat(r_mul_8, s["self_attn_locations"], s["self_attn_weights"], ((20, 20), (10, 10), (5, 5)), s, "self_attn_sampled")  # f32[K,B,525,8,32]
    del r_mul_8
    r_scale_2 = r_deform_splat.mul_(0.5)  # f32[K,B,525,8,32]
    del r_deform_splat
    # self_attn: pass
    r_reshape = r_scale.reshape((K, B, 525, 8, 12))  # f32[K,B,525,8,12]
    del r_scale
    # self_attn: taylor
    r_softmax_transpose = softmax_transpose(r_reshape, s["self_attn_probabilities"], -1)  # f32[K,B,525,8,12]
    del r_reshape
    # self_attn: pass
    r_reshape_2 = r_softmax_transpose.reshape((K, B, 525, 96))  # f32[K,B,525,96]
    del r_softmax_transpose
    # self_attn: epsilon(eps=1e-06)
    r_mul_9 = stab_mul(r_reshape_2, s["self_attn_attention_weights"], 1e-06, over=True)  # f32[K,B,525,96]
    del r_reshape_2
    r_linear_transpose_4 = r_mul_9 @ w[p + "self_attn.attention_weights.weight"]  # f32[K,B,525,256]
    del r_mul_9
    # self_attn: pass
    r_reshape_3 = r_scale_2.reshape((K, B, 525, 256))  # f32[K,B,525,256]
    del r_scale_2
    # self_attn: epsilon(eps=1e-06)
    r_mul_10 = stab_mul(r_reshape_3, s["self_attn_value_proj"], 1e-06, over=True)  # f32[K,B,525,256]
    del r_reshape_3
    r_linear_transpose_5 = r_mul_10 @ w[p + "self_attn.value_proj.weight"]  # f32[K,B,525,256]
    del r_mul_10
    r_add_2 = r_mul_6.add_(r_linear_transpose_5)  # f32[K,B,525,256]
    del r_mul_6, r_linear_transpose_5
    # positional, epsilon(eps=1e-06)
    add_again_3 = x + x_2  # f32[B,525,256]
    del x, x_2
    # epsilon(eps=1e-06)
    r_mul_11 = stab_mul(r_linear_transpose_4, add_again_3, 1e-06, over=True)  # f32[K,B,525,256]
    del r_linear_transpose_4, add_again_3
    r_add_3 = r_add_2.add_(r_mul_11)  # f32[K,B,525,256]
    del r_add_2, r_mul_11
    return r_add_3


def relevance_class_logit(w, saved, seed, read):
    K = seed.shape[0]
    B = seed.shape[1]
    out = {}
    # sem_seg_head.predictor.class_embed: epsilon(eps=1e-06)
    r_mul = stab_mul(seed, saved[""]["class_embed_1"], 1e-06)  # f32[K,B,50,10]
    del seed
    r_linear_transpose = r_mul @ w["sem_seg_head.predictor.class_embed.weight"]  # f32[K,B,50,256]
    del r_mul
    # sem_seg_head.predictor.decoder_norm: detach_sigma(eps=1e-06)
    r_mul_1 = stab_mul(r_linear_transpose, saved[""]["decoder_norm_2"], 1e-06, over=True)  # f32[K,B,50,256]
    del r_linear_transpose
    r_rstd = rstd(saved[""]["decoder_norm_1"], 1e-05, 0)  # f32[B,50,1]
    r_layer_norm_transpose = layer_norm_transpose(r_mul_1, r_rstd, w["sem_seg_head.predictor.decoder_norm.weight"])  # f32[K,B,50,256]
    del r_mul_1, r_rstd
    r_mul_2 = stab_mul(r_layer_norm_transpose, saved[""]["decoder_norm_1"], 1e-06, over=True)  # f32[K,B,50,256]
    del r_layer_norm_transpose
    r_rstd_1 = rstd(saved["sem_seg_head.predictor.decoder.layers.2"]["norm3"], 1e-05, 0)  # f32[B,50,1]
    r_layer_norm_transpose_1 = layer_norm_transpose(r_mul_2, r_rstd_1, w["sem_seg_head.predictor.decoder_norm.weight"])  # f32[K,B,50,256]
    del r_mul_2, r_rstd_1
    if "decoder.layers.2" in read:
        out["decoder.layers.2"] = r_layer_norm_transpose_1 * saved["sem_seg_head.predictor.decoder.layers.2"]["norm3"]  # f32[K,B,50,256]
        if len(out) == len(read):
            return out
    r_linear_transpose_5, r_add_4 = decoder_layers_relevance(w, "sem_seg_head.predictor.decoder.layers.2.", saved["sem_seg_head.predictor.decoder.layers.2"], K, B, r_layer_norm_transpose_1, saved["between.2"]["layers_5"], saved["sem_seg_head.predictor.decoder.layers.1"]["norm3"])
    del r_layer_norm_transpose_1
    if "decoder.layers.1" in read:
        out["decoder.layers.1"] = r_add_4 * saved["sem_seg_head.predictor.decoder.layers.1"]["norm3"]  # f32[K,B,50,256]
        if len(out) == len(read):
            return out
    r_linear_transpose_14, r_add_9 = decoder_layers_relevance(w, "sem_seg_head.predictor.decoder.layers.1.", saved["sem_seg_head.predictor.decoder.layers.1"], K, B, r_add_4, saved["between.1"]["layers_5"], saved["sem_seg_head.predictor.decoder.layers.0"]["norm3"])
    del r_add_4
    if "decoder.layers.0" in read:
        out["decoder.layers.0"] = r_add_9 * saved["sem_seg_head.predictor.decoder.layers.0"]["norm3"]  # f32[K,B,50,256]
        if len(out) == len(read):
            return out
    r_add_10 = r_linear_transpose_5 + r_linear_transpose_14  # f32[K,B,525,256]
    del r_linear_transpose_5, r_linear_transpose_14
    r_linear_transpose_23, r_add_15 = decoder_layers_relevance_2(w, "sem_seg_head.predictor.decoder.layers.0.", saved["sem_seg_head.predictor.decoder.layers.0"], K, B, r_add_9)
    del r_add_9
    r_add_16 = r_add_10 + r_linear_transpose_23  # f32[K,B,525,256]
    del r_add_10, r_linear_transpose_23
    # sem_seg_head.predictor: pass
    r_gather_transpose = gather_transpose(r_add_15, saved[""]["expand"], -2, 525)  # f32[K,B,525,256]
    del r_add_15
    # sem_seg_head.predictor.enc_output_norm: layer_norm, detach_sigma(eps=1e-06)
    enc_output_norm_again = F.layer_norm(saved[""]["enc_output"], saved[""]["enc_output"].shape[-1:], w["sem_seg_head.predictor.enc_output_norm.weight"], w["sem_seg_head.predictor.enc_output_norm.bias"], 1e-05)  # f32[B,525,256]
    # sem_seg_head.predictor.enc_output_norm: detach_sigma(eps=1e-06)
    r_mul_63 = stab_mul(r_gather_transpose, enc_output_norm_again, 1e-06, over=True)  # f32[K,B,525,256]
    del r_gather_transpose, enc_output_norm_again
    r_rstd_11 = rstd(saved[""]["enc_output"], 1e-05, 0)  # f32[B,525,1]
    r_layer_norm_transpose_11 = layer_norm_transpose(r_mul_63, r_rstd_11, w["sem_seg_head.predictor.enc_output_norm.weight"])  # f32[K,B,525,256]
    del r_mul_63, r_rstd_11
    # sem_seg_head.predictor.enc_output: epsilon(eps=1e-06)
    r_mul_64 = stab_mul(r_layer_norm_transpose_11, saved[""]["enc_output"], 1e-06, over=True)  # f32[K,B,525,256]
    del r_layer_norm_transpose_11
    r_linear_transpose_28 = r_mul_64 @ w["sem_seg_head.predictor.enc_output.weight"]  # f32[K,B,525,256]
    del r_mul_64
    r_add_17 = r_add_16.add_(r_linear_transpose_28)  # f32[K,B,525,256]
    del r_add_16, r_linear_transpose_28
    # sem_seg_head.predictor: pass
    r_slice = r_add_17[..., :25, :]  # f32[K,B,25,256]
    r_slice_1 = r_add_17[..., 25:125, :]  # f32[K,B,100,256]
    r_slice_2 = r_add_17[..., 125:, :]  # f32[K,B,400,256]
    del r_add_17
    # sem_seg_head.pixel_decoder: pass
    r_slice_transpose = slice_transpose(r_slice, -2, 500, 1, 525)  # f32[K,B,525,256]
    del r_slice
    r_slice_transpose_1 = slice_transpose(r_slice_1, -2, 400, 1, 525)  # f32[K,B,525,256]
    del r_slice_1
    r_add_18 = r_slice_transpose.add_(r_slice_transpose_1)  # f32[K,B,525,256]
    del r_slice_transpose, r_slice_transpose_1
    r_slice_transpose_2 = slice_transpose(r_slice_2, -2, 0, 1, 525)  # f32[K,B,525,256]
    del r_slice_2
    r_add_19 = r_add_18.add_(r_slice_transpose_2)  # f32[K,B,525,256]
    del r_add_18, r_slice_transpose_2
    if "encoder.layers.2" in read:
        out["encoder.layers.2"] = r_add_19 * saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.2"]["norm2"]  # f32[K,B,525,256]
        if len(out) == len(read):
            return out
    r_add_22 = encoder_layers_relevance(w, "sem_seg_head.pixel_decoder.transformer.encoder.layers.2.", saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.2"], K, B, r_add_19, saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.1"]["norm2"], saved[""]["constant"])
    del r_add_19
    if "encoder.layers.1" in read:
        out["encoder.layers.1"] = r_add_22 * saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.1"]["norm2"]  # f32[K,B,525,256]
        if len(out) == len(read):
            return out
    r_add_25 = encoder_layers_relevance(w, "sem_seg_head.pixel_decoder.transformer.encoder.layers.1.", saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.1"], K, B, r_add_22, saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.0"]["norm2"], saved[""]["constant"])
    del r_add_22
    if "encoder.layers.0" in read:
        out["encoder.layers.0"] = r_add_25 * saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.0"]["norm2"]  # f32[K,B,525,256]
        if len(out) == len(read):
            return out
    r_add_28 = encoder_layers_relevance(w, "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.", saved["sem_seg_head.pixel_decoder.transformer.encoder.layers.0"], K, B, r_add_25, saved[""]["cat"], saved[""]["constant"])
    del r_add_25
    if "encoder.input" in read:
        out["encoder.input"] = r_add_28 * saved[""]["cat"]  # f32[K,B,525,256]
        if len(out) == len(read):
            return out
    # sem_seg_head.pixel_decoder.transformer: pass
    r_slice_3 = r_add_28[..., :400, :]  # f32[K,B,400,256]
    r_slice_4 = r_add_28[..., 400:500, :]  # f32[K,B,100,256]
    r_slice_5 = r_add_28[..., 500:, :]  # f32[K,B,25,256]
    del r_add_28
    r_permute_27 = r_slice_5.permute((0, 1, 3, 2))  # f32[K,B,256,25]
    del r_slice_5
    r_reshape_30 = r_permute_27.reshape((K, B, 256, 5, 5))  # f32[K,B,256,5,5]
    del r_permute_27
    r_permute_28 = r_slice_4.permute((0, 1, 3, 2))  # f32[K,B,256,100]
    del r_slice_4
    r_reshape_31 = r_permute_28.reshape((K, B, 256, 10, 10))  # f32[K,B,256,10,10]
    del r_permute_28
    r_permute_29 = r_slice_3.permute((0, 1, 3, 2))  # f32[K,B,256,400]
    del r_slice_3
    r_reshape_32 = r_permute_29.reshape((K, B, 256, 20, 20))  # f32[K,B,256,20,20]
    del r_permute_29
    if "encoder.input.res5" in read:
        out["encoder.input.res5"] = r_reshape_30 * saved[""]["input_proj_2_1"]  # f32[K,B,256,5,5]
        if len(out) == len(read):
            return out
    r_reshape_34 = pixel_decoder_input_proj_relevance(w, "sem_seg_head.pixel_decoder.input_proj.2.", saved[""], K, B, r_reshape_30, saved[""]["input_proj_2_1"], saved[""]["input_proj_2_0"])
    del r_reshape_30
    if "encoder.input.res4" in read:
        out["encoder.input.res4"] = r_reshape_31 * saved[""]["input_proj_1_1"]  # f32[K,B,256,10,10]
        if len(out) == len(read):
            return out
    r_reshape_36 = pixel_decoder_input_proj_relevance_2(w, "sem_seg_head.pixel_decoder.input_proj.1.", saved[""], K, B, r_reshape_31, saved[""]["input_proj_1_1"], saved[""]["input_proj_1_0"])
    del r_reshape_31
    if "encoder.input.res3" in read:
        out["encoder.input.res3"] = r_reshape_32 * saved[""]["input_proj_0_1"]  # f32[K,B,256,20,20]
        if len(out) == len(read):
            return out
    r_reshape_38 = pixel_decoder_input_proj_relevance_3(w, "sem_seg_head.pixel_decoder.input_proj.0.", saved[""], K, B, r_reshape_32, saved[""]["input_proj_0_1"], saved[""]["input_proj_0_0"])
    del r_reshape_32
    if "backbone.res5" in read:
        out["backbone.res5"] = r_reshape_34 * saved["backbone.res5.2"]["relu_3"]  # f32[K,B,512,5,5]
        if len(out) == len(read):
            return out
    r_add_29 = backbone_res5_relevance(w, "backbone.res5.2.", saved["backbone.res5.2"], K, B, r_reshape_34)
    del r_reshape_34
    r_add_30 = backbone_res5_relevance(w, "backbone.res5.1.", saved["backbone.res5.1"], K, B, r_add_29)
    del r_add_29
    r_add_31 = backbone_res5_relevance_2(w, "backbone.res5.0.", saved["backbone.res5.0"], K, B, r_add_30)
    del r_add_30
    r_add_32 = r_reshape_36 + r_add_31  # f32[K,B,256,10,10]
    del r_reshape_36, r_add_31
    if "backbone.res4" in read:
        out["backbone.res4"] = r_add_32 * saved["backbone.res4.5"]["relu_3"]  # f32[K,B,256,10,10]
        if len(out) == len(read):
            return out
    r_add_33 = backbone_res4_relevance(w, "backbone.res4.5.", saved["backbone.res4.5"], K, B, r_add_32)
    del r_add_32
    r_add_34 = backbone_res4_relevance(w, "backbone.res4.4.", saved["backbone.res4.4"], K, B, r_add_33)
    del r_add_33
    r_add_35 = backbone_res4_relevance(w, "backbone.res4.3.", saved["backbone.res4.3"], K, B, r_add_34)
    del r_add_34
    r_add_36 = backbone_res4_relevance(w, "backbone.res4.2.", saved["backbone.res4.2"], K, B, r_add_35)
    del r_add_35
    r_add_37 = backbone_res4_relevance(w, "backbone.res4.1.", saved["backbone.res4.1"], K, B, r_add_36)
    del r_add_36
    r_add_38 = backbone_res4_relevance_2(w, "backbone.res4.0.", saved["backbone.res4.0"], K, B, r_add_37)
    del r_add_37
    r_add_39 = r_reshape_38 + r_add_38  # f32[K,B,128,20,20]
    del r_reshape_38, r_add_38
    if "backbone.res3" in read:
        out["backbone.res3"] = r_add_39 * saved["backbone.res3.3"]["relu_3"]  # f32[K,B,128,20,20]
        if len(out) == len(read):
            return out
    r_add_40 = backbone_res3_relevance(w, "backbone.res3.3.", saved["backbone.res3.3"], K, B, r_add_39)
    del r_add_39
    r_add_41 = backbone_res3_relevance(w, "backbone.res3.2.", saved["backbone.res3.2"], K, B, r_add_40)
    del r_add_40
    r_add_42 = backbone_res3_relevance(w, "backbone.res3.1.", saved["backbone.res3.1"], K, B, r_add_41)
    del r_add_41
    r_add_43 = backbone_res3_relevance_2(w, "backbone.res3.0.", saved["backbone.res3.0"], K, B, r_add_42)
    del r_add_42
    if "backbone.res2" in read:
        out["backbone.res2"] = r_add_43 * saved["backbone.res2.2"]["relu_3"]  # f32[K,B,64,40,40]
        if len(out) == len(read):
            return out
    r_add_44 = backbone_res2_relevance(w, "backbone.res2.2.", saved["backbone.res2.2"], K, B, r_add_43)
    del r_add_43
    r_add_45 = backbone_res2_relevance(w, "backbone.res2.1.", saved["backbone.res2.1"], K, B, r_add_44)
    del r_add_44
    r_add_46 = backbone_res2_relevance_2(w, "backbone.res2.0.", saved["backbone.res2.0"], K, B, r_add_45)
    del r_add_45
    # backbone.stem: pass
    r_max_pool2d_transpose = max_pool2d_transpose(r_add_46, saved[""]["max_pool2d_1"], (80, 80))  # f32[K,B,16,80,80]
    del r_add_46
    # backbone.stem.conv1: epsilon(eps=1e-06)
    r_mul_172 = stab_mul(r_max_pool2d_transpose, saved[""]["relu"], 1e-06, over=True)  # f32[K,B,16,80,80]
    del r_max_pool2d_transpose
    r_reshape_143 = r_mul_172.reshape((K * B, 16, 80, 80))  # f32[K*B,16,80,80]
    del r_mul_172
    r_conv2d_transpose_55 = conv2d_transpose(r_reshape_143, w["backbone.stem.conv1.weight@folded"], (3, 160, 160), (2, 2), (3, 3), (1, 1), 1)  # f32[K*B,3,160,160]
    del r_reshape_143
    r_reshape_144 = r_conv2d_transpose_55.reshape((K, B, 3, 160, 160))  # f32[K,B,3,160,160]
    del r_conv2d_transpose_55
    if "input" in read:
        out["input"] = r_reshape_144 * saved[""]["normalize_1"]  # f32[K,B,3,160,160]
        if len(out) == len(read):
            return out
    del r_reshape_144
    return out
